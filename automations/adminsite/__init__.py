"""Pages of the Django admin: automations are edited and published there, all else is to be read (CONTRACTS 10)."""
