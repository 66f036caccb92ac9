"""The `computepool` command, also `kubectl computepool`."""
