"""The source of the cluster's metrics: a server with Prometheus' HTTP API."""
