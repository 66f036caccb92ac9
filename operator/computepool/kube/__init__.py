"""The way to the API server: credentials, paths, calls, JSON shapes, typed errors and delays between attempts."""
