"""The writes that carry out plans: each asks the fence first and is safe to repeat."""
