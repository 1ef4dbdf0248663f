"""The parent of the workers: whoever dies is replaced, all of them at one moment included (DESIGN 5.4)."""

from __future__ import annotations

import signal
from typing import Any

import psutil
import pytest
from django.db import connections

from automations.models import Delivery, Run
from automations.worker import delivery_claim
from automations.worker.run import _Parent
from tests.factories import make_customer, make_workspace
from tests.worker.deliveries import World
from tests.worker.living import happen, live

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("victims", [1, 2])
def test_workers_that_die_together_are_started_again(victims: int) -> None:
    automation = live(make_workspace(), "steps: [{id: note, type: action, action: create_task, message: Call}]")
    for _ in range(20):
        happen(make_customer(automation.workspace))
    connections.close_all()  # as `work` does before it forks
    parent = _Parent(2, until_idle=True)
    for child in parent.children[:victims]:
        psutil.Process(child.pid).send_signal(signal.SIGKILL)
        child.join()
    parent.watch()
    assert [child.exitcode for child in parent.children] == [0, 0]
    assert set(Run.objects.filter(automation=automation).values_list("status", flat=True)) == {"COMPLETED"}
    assert Run.objects.filter(automation=automation).count() == 20


@pytest.mark.parametrize(("given", "seconds"), [(None, 60), (2.5, 2.5)])
def test_a_lease_lasts_as_long_as_it_is_told(settings: Any, given: float | None, seconds: float) -> None:
    if given is not None:
        settings.ONWARD_LEASE_SECONDS = given
    delivery = World().webhook("http://127.0.0.1:9/hook")
    [job] = delivery_claim.claim(1).jobs
    row = Delivery.objects.get(pk=delivery.pk)
    assert row.lease_until is not None
    assert 0 <= (row.lease_until - job.real).total_seconds() - seconds < 1
