"""Random faults for a long while, with an independent watch that no invariant is broken and memory stays flat."""
