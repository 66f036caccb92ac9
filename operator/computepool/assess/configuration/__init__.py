"""The manifest held against the cluster: what the spec says and the cluster does not do, and what mends it."""
