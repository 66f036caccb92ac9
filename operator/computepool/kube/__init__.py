"""The way to the API server: credentials, calls and typed errors. It knows nothing of pools."""
