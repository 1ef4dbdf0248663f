"""REST of accounts, and the base of all REST of the project (CONTRACTS 1, 8)."""
