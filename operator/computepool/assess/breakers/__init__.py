"""Each provider's circuit breaker: whether the provider is used, and how it is tried again after a failure."""
