"""Every rule holds where everything has happened once, and where things go wrong in an orderly way."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from automations.doctor.run import examine
from automations.models import Delivery, Run
from tests.doctor.world import DELAYED, World, build, clean_books
from tests.factories import make_workspace
from tests.worker.living import log_of, pass_time, settle


def findings() -> dict[str, list[str]]:
    """What the doctor finds, at rest."""
    return {finding.check.id: finding.rows for finding in examine(at_rest=True)}


def test_the_doctor_finds_nothing_in_a_healthy_installation(world: World) -> None:  # INVARIANTS
    assert findings() == {}


@pytest.mark.django_db(transaction=True)
def test_nor_where_every_step_was_committed_on_its_own(httpserver: HTTPServer, settings: Any) -> None:  # INVARIANTS
    settings.ONWARD_EGRESS_ALLOW = ("127.0.0.0/8",)
    build(httpserver)
    assert findings() == {}  # a run has just parked
    settle()
    assert findings() == {}
    assert "UNKNOWN" in states()
    pass_time("+4d", deliver=True)
    assert findings() == {}
    assert states() == {"SENT", "FAILED", "CANCELLED"}
    clean_books()


def states() -> set[str]:
    """Of all deliveries."""
    return set(Delivery.objects.values_list("state", flat=True))


@pytest.mark.django_db(transaction=True)
def test_a_run_that_reaches_the_limit_behind_a_step_has_a_sound_log() -> None:  # X3, S1, L1
    world = World(make_workspace(), make_workspace())
    world.make("long", DELAYED)
    run = world.start("long")
    Run.objects.filter(pk=run.pk).update(seq=10_000)
    pass_time("+4d")
    run.refresh_from_db()
    assert run.error is not None
    assert (run.status, run.end_reason, run.error["code"]) == ("FAILED", "step_limit", "step_limit")
    visits = [(row.seq, row.step, row.status) for row in log_of(run)]
    assert visits == [(10_000, "pause", "succeeded"), (10_001, "tag", "failed")]
    assert {"S1", "X3"}.isdisjoint(findings())
