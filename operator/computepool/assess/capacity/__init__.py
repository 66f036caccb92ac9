"""The capacity of each provider, and which pods fit there."""
