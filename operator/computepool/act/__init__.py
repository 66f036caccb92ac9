"""A plan to the cluster: every write the operator makes, each fenced by leadership and safe to repeat."""
