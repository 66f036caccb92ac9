"""What is wrong with nodes and providers, and since when. Pure."""
