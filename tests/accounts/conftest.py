"""Fixtures of the tests about accounts; other areas import them: `from tests.accounts.conftest import *`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from accounts.actor import Actor, system_actor
from accounts.announcements import Announcement, ignore, listen
from accounts.models import Customer, Installation, Workspace
from tests.factories import ApiClient, actor_of, make_api_client, make_customer, make_workspace


@pytest.fixture
def workspace(db: None) -> Workspace:
    """A workspace on PRO with an owner and the default funnel."""
    return make_workspace()


@pytest.fixture
def other(db: None) -> Workspace:
    """Another tenant, whose things must stay invisible."""
    return make_workspace()


@pytest.fixture
def actor(workspace: Workspace) -> Actor:
    """The owner of `workspace`."""
    return actor_of(workspace)


@pytest.fixture
def system(workspace: Workspace) -> Actor:
    """The product itself in `workspace`."""
    return system_actor(workspace.pk)


@pytest.fixture
def customer(workspace: Workspace) -> Customer:
    """Ana, identified."""
    return make_customer(workspace, email="ana@example.com", name="Ana Ruiz")


@pytest.fixture
def api(workspace: Workspace) -> ApiClient:
    """A client with a key of all scopes."""
    return make_api_client(workspace)


@pytest.fixture
def announced(db: None) -> Iterator[list[Announcement]]:
    """What is announced while the test runs, in order."""
    heard: list[Announcement] = []

    def hear(announcements: list[Announcement]) -> None:
        heard.extend(announcements)

    listen(hear)
    yield heard
    ignore(hear)


@pytest.fixture
def real_clock(db: None) -> Iterator[None]:
    """Evaluation time is real time again when the test ends, whatever the test did."""
    yield
    Installation.objects.update(clock_offset=timedelta())
