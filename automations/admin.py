"""Registers the admin pages of this app (CONTRACTS 10)."""

from automations.adminsite import automations, records

__all__ = ["automations", "records"]
