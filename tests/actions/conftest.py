"""Fixtures of the tests of actions."""

from tests.accounts.conftest import announced, customer, other, real_clock, workspace

__all__ = ["announced", "customer", "other", "real_clock", "workspace"]
