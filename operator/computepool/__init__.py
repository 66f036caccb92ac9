"""ComputePool."""
