"""Where pending pods go: by patch, and at admission. Pure."""
