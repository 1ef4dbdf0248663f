"""Pages of billing in the administration: to look at, not to change (CONTRACTS 10)."""
