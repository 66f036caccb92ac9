"""Turns the cluster into snapshots: reflectors, records, and the store that they fill."""
