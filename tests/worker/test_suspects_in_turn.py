"""What a dead worker held is taken up in good time, also while there is always something else to do (ERR-11, DESIGN 5.2 poison)."""

from __future__ import annotations

import pytest

from automations.models import Run
from automations.worker import advance, claim
from automations.worker.advance import advance_batch
from tests.factories import make_customer, make_workspace
from tests.worker.living import live
from tests.worker.routing import occur, route_all

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_run_that_a_dead_worker_held_is_walked_although_others_are_always_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workspace = make_workspace()
    customer = make_customer(workspace)
    monkeypatch.setattr(advance._Suspects, "last", 0.0)  # the last look was long ago
    claim.due_workspaces.forget()  # the list that an earlier test of this second left
    automation = live(workspace, "settings: {reentry: always}\nsteps: [{type: stop}]")
    for _ in range(3):
        occur(customer)
    route_all()
    suspect = Run.objects.filter(automation=automation).earliest("id")
    Run.objects.filter(pk=suspect.pk).update(lost=1)
    assert advance_batch(limit=1) == 2  # one that is due, and the one that was held
    suspect.refresh_from_db()
    assert suspect.status == "COMPLETED"
    assert Run.objects.filter(automation=automation, status="RUNNING").count() == 1
