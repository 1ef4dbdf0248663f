"""What most tests of the worker begin with."""

from __future__ import annotations

import pytest

from accounts.models import Customer, Workspace
from tests.factories import make_customer, make_workspace


@pytest.fixture
def workspace() -> Workspace:
    return make_workspace()


@pytest.fixture
def customer(workspace: Workspace) -> Customer:
    return make_customer(workspace)
