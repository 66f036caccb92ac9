"""What users see: conditions, events, metrics and logs, all from the same decisions and reasons."""
