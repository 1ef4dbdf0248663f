"""Fixtures of the tests of commands."""

from tests.accounts.conftest import other, real_clock, workspace

__all__ = ["other", "real_clock", "workspace"]
