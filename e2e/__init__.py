"""A real Kubernetes control plane as plain processes on loopback, for tests, the demo and benchmarks.

`python -m e2e --help` says how to use it from a shell, `e2e.cluster.Cluster` is the same from Python.
"""
