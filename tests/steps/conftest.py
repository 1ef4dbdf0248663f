"""Fixtures of the tests of steps."""

from tests.accounts.conftest import customer, other, real_clock, workspace

__all__ = ["customer", "other", "real_clock", "workspace"]
