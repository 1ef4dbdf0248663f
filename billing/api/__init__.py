"""REST of billing (CONTRACTS 8)."""
