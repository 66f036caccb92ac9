"""Which running pods are moved: off what fails, to make room, and home. Pure."""
