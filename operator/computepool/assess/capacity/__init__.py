"""What a provider has, and where a pod fits. Pure."""
