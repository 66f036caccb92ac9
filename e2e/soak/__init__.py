"""The soak test: random faults for a long time, while an independent watch checks the invariants and the memory."""
