"""Makes a plan from an assessment. Pure."""
