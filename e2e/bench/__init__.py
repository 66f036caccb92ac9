"""What the operator costs in time and memory, measured beside the least that could do the same, in one run."""
