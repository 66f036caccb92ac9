"""Which pods belong to a pool, which of them overflow, and whether the primary is saturated."""
