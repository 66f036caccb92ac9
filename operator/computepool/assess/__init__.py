"""Turns a snapshot into verdicts: the capacity, its health, the waiting pods, and whether the primary is saturated."""
