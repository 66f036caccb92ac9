"""The running operator: kopf, leadership, the queue, health endpoints, and the wiring of all layers."""
