"""Verdicts to a plan: what bursts, what waits, what admission does, and when to look again. Pure."""
