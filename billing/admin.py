"""Registers the pages of this app in the administration (CONTRACTS 10)."""

from billing.adminsite import collecting, selling

__all__ = ["collecting", "selling"]
