"""Fixtures of the tests of REST."""

from tests.accounts.conftest import actor, announced, api, customer, other, real_clock, system, workspace

__all__ = ["actor", "announced", "api", "customer", "other", "real_clock", "system", "workspace"]
