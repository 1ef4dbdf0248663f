"""What merging and erasing lock before customers (DESIGN 5.2, "Lock order")."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from django.db import transaction

from accounts.errors import Refusal
from accounts.models import Customer
from accounts.services.erasure import erase_customer
from accounts.services.lifecycle import merge_customers
from accounts.services.locking import lock_customers
from automations.models import Run
from automations.services.ahead import hold_runs
from tests.factories import actor_of, make_customer, make_workspace
from tests.worker.deliveries import World
from tests.worker.racing import Racer

pytestmark = pytest.mark.django_db(transaction=True)


def free(run: Run) -> bool:
    """Whether nobody holds the row, asked on another connection."""

    def ask() -> bool:
        with transaction.atomic():
            return Run.objects.select_for_update(skip_locked=True, no_key=True).filter(pk=run.pk).exists()

    return bool(Racer(ask).result())


def test_the_runs_of_these_customers_are_held_until_the_end() -> None:
    world = World()
    run = world.run()
    with transaction.atomic():
        hold_runs(world.workspace.pk, [world.customer.pk])
        assert not free(run)
    assert free(run)


def test_no_run_of_another_workspace_is_held(monkeypatch: pytest.MonkeyPatch) -> None:  # INVARIANTS X1
    """Whoever names a foreign customer is refused, and must not hold up anybody on the way there."""
    world, other = World(), make_workspace()
    run, own = world.run(), make_customer(other)
    seen: list[bool] = []

    def look(customers: Collection[int], workspace_id: int) -> dict[int, Customer]:
        seen.append(free(run))
        return lock_customers(customers, workspace_id)

    for module in ("erasure", "lifecycle"):
        monkeypatch.setattr(f"accounts.services.{module}.lock_customers", look)
    with pytest.raises(Refusal):
        erase_customer(actor=actor_of(other), customer_id=world.customer.pk)
    with pytest.raises(Refusal):
        merge_customers(actor=actor_of(other), source_id=world.customer.pk, into_id=own.pk)
    assert seen
    assert all(seen)
