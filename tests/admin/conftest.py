"""Fixtures of the tests of the admin."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.accounts.conftest import other, real_clock, workspace
from tests.factories import make_user

__all__ = ["operator", "other", "real_clock", "workspace"]


@pytest.fixture
def operator(db: None) -> Client:
    """A browser of an operator of the installation."""
    client = Client()
    client.force_login(make_user(is_staff=True, is_superuser=True))
    return client
