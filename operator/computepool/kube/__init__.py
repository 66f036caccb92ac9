"""The HTTP client of the API server: credentials, paths, calls, JSON types, typed errors and retry delays."""
