"""Fixtures of the acceptance tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from accounts.models import Workspace
from tests.accounts.conftest import actor, api, customer, other, real_clock, system, workspace
from tests.api.outside import Outside
from tests.worker.smtp_peer import MailServer, Peer

__all__ = ["actor", "api", "customer", "other", "real_clock", "system", "workspace"]


@pytest.fixture
def onward(workspace: Workspace) -> Outside:
    """The product as an integration with all scopes meets it."""
    return Outside.of(workspace)


@pytest.fixture
def loopback(settings: Any) -> None:
    """Outgoing calls may reach this machine."""
    settings.ONWARD_EGRESS_ALLOW = ("127.0.0.0/8",)


@pytest.fixture
def gateway(settings: Any) -> Iterator[Peer]:
    """A real mail server that the product sends through."""
    with MailServer() as server:
        settings.ONWARD_SMTP_URL = server.url
        settings.ONWARD_STARTTLS = "auto"
        yield server.peer
