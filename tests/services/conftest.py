"""Fixtures of the tests of services."""

from tests.accounts.conftest import actor, customer, other, real_clock, system, workspace

__all__ = ["actor", "customer", "other", "real_clock", "system", "workspace"]
