"""Verdicts on signals from the cluster's metrics."""
