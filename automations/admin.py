"""Registers the pages of this app in the administration (CONTRACTS 10)."""

from accounts.adminsite.record import add_blocks
from accounts.models import Customer
from automations.adminsite import automations, deliveries, events, machinery, runs, versions

__all__ = ["automations", "deliveries", "events", "machinery", "runs", "versions"]

add_blocks(Customer, runs.of_customer)
