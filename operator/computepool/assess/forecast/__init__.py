"""When the primary will be full, by the demand of the last minutes."""
