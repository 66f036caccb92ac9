"""Snapshot to verdicts: what capacity there is, what waits for it, and whether the primary is saturated. Pure."""
