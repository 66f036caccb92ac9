"""The cluster to a snapshot: reflectors, records and the store they fill."""
