"""Ending the one run that a batch failed by: all of it or nothing, and never for a fault of the server (ERR-11)."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError, connection

from automations.models import Entry, Run
from automations.worker import advance
from tests.worker.deliveries import World

pytestmark = pytest.mark.django_db(transaction=True)


def due_run() -> Run:
    """A run that is due, and the re-entry key that it holds."""
    world = World()
    now = world.automation.created_at
    run = world.run(parked_on=None, due_at=now, started_at=now)
    Entry.objects.create(
        workspace=world.workspace, automation=world.automation, key="customer:1", run_id=run.pk, once=False
    )
    return run


def standing(run: Run) -> tuple[str, bool]:
    """Its status, and whether its key is still taken."""
    run.refresh_from_db()
    return run.status, Entry.objects.filter(run_id=run.pk).exists()


def test_a_run_ended_as_it_stands_gives_its_key_free() -> None:
    run = due_run()
    assert advance.fail_bare(run.pk, "poison", "Three workers died.") == 1
    assert standing(run) == ("FAILED", False)
    assert advance.fail_bare(run.pk, "poison", "Three workers died.") == 0


def test_a_death_in_between_leaves_both_as_they_were() -> None:
    run = due_run()

    def dies(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith("DELETE FROM automations_entry"):
            raise ConnectionAbortedError
        return execute(sql, *rest)

    with connection.execute_wrapper(dies), pytest.raises(ConnectionAbortedError):
        advance.fail_bare(run.pk, "poison", "Three workers died.")
    assert standing(run) == ("RUNNING", True)


def test_a_full_disk_fails_no_run(monkeypatch: pytest.MonkeyPatch) -> None:  # RELIABILITY 7
    run = due_run()

    def full(walks: Any) -> None:
        raise OperationalError("could not extend file: No space left on device")

    monkeypatch.setattr(advance, "_broken", lambda run, error: None)
    monkeypatch.setattr(advance.store, "write", full)
    monkeypatch.setattr("automations.worker.retrying.time.sleep", lambda seconds: None)
    with pytest.raises(OperationalError):
        advance._fail_alone(run.pk, ValueError("the error of the batch"))
    assert standing(run) == ("RUNNING", True)
