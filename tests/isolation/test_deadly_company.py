"""A delivery that kills its workers, among others that do no harm: it ends in sight, and the others are made (RELIABILITY 9, 26).

The workers are real processes that are killed; `acts` is what an outside peer would have counted.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection, connections
from django.db.models import F

from automations.engine.kinds import Envelope, OutsideAction
from automations.engine.outcomes import Done, Outcome
from automations.engine.registry import registry
from automations.models import Delivery, DeliveryAttempt
from automations.worker import deliver, delivery_claim, poison
from automations.worker.deliver import deliver_batch
from automations.worker.jobs import Job
from automations.worker.policy import LOST_LIMIT
from automations.worker.settle import settle_acts
from tests.worker.deliveries import World, expire_lease

pytestmark = pytest.mark.django_db(transaction=True)
HARMLESS = 12
FAR = 40  # batches after which it would never end


class Calls(OutsideAction):
    """Acts by adding its key to a file, and kills its process where `deadly` says so: in `render`, `perform` or `after` acting."""

    key, label = "test_calls", "Call a peer of the test"

    def __init__(self, acts: Path) -> None:
        self.acts = acts

    def prepare(self, config: Any, scope: Any) -> Envelope:
        raise NotImplementedError  # no run is walked here; the deliveries are written as rows

    def render(self, envelope: Envelope, key: str) -> bytes:
        _die(envelope.body.get("deadly") == "render")
        return key.encode()

    def perform(self, envelope: Envelope, key: str, body: bytes) -> Outcome:
        place = envelope.body.get("deadly")
        time.sleep(0.02 if place == "perform" else 0.1)  # it strikes while the others are at it
        _die(place == "perform")
        with self.acts.open("a") as file:
            file.write(f"{key}\n")
        return Done({})


def _die(now: bool) -> None:
    if now:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(autouse=True)
def fresh_process() -> None:
    """Nothing is known of what other tests had taken."""
    delivery_claim._workspaces.forget()
    delivery_claim._Turn.suspects_first = True


@pytest.fixture
def acts(tmp_path: Path) -> Iterator[Path]:
    registry.actions[Calls.key] = Calls(tmp_path / "acts")
    (tmp_path / "acts").touch()
    yield tmp_path / "acts"
    del registry.actions[Calls.key]


def queue(deadly: str) -> tuple[Delivery, list[Delivery]]:
    """One that kills in that place in the middle of others, all due."""
    world = World()
    made = [
        world.delivery(Envelope(kind="http", body={"deadly": deadly} if number == 3 else {}, retries=3), Calls.key)
        for number in range(HARMLESS + 1)
    ]
    return made.pop(3), made


def work_until_done() -> int:
    """Batches in processes that may die, each when the leases of the last have run out; how many died."""
    died = 0
    for _ in range(FAR):
        if not Delivery.objects.filter(state__in=("QUEUED", "SENDING")).exists():
            break
        died += _in_child() == -signal.SIGKILL
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE automations_delivery SET lease_until = clock_timestamp() - interval '1 second', "
                "due_at = onward_now() - interval '1 second' WHERE state = 'SENDING'"
            )
    return died


def _in_child() -> int | None:
    connections.close_all()
    process = multiprocessing.get_context("fork").Process(target=deliver_batch)
    process.start()
    process.join(60)
    return process.exitcode


def state_of(delivery: Delivery) -> tuple[str, str | None]:
    delivery.refresh_from_db()
    return delivery.state, (delivery.error or {}).get("code")


def lost(deliveries: list[Delivery]) -> Counter[int]:
    """How often each was in a worker's hands when it died."""
    found = DeliveryAttempt.objects.filter(delivery__in=deliveries, outcome="lost")
    return Counter(found.values_list("delivery_id", flat=True))


def test_one_that_kills_while_it_is_rendered_takes_no_other_with_it(acts: Path) -> None:
    deadly, harmless = queue("render")
    assert work_until_done() == LOST_LIMIT
    assert state_of(deadly) == ("FAILED", "poison")
    assert {state_of(delivery) for delivery in harmless} == {("SENT", None)}
    assert max(lost(harmless).values()) == 1  # the first death was in company
    assert Counter(acts.read_text().split()) == {delivery.key: 1 for delivery in harmless}


def test_without_being_taken_alone_it_ends_others_as_poison(acts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Job, "suspect", lambda job: False)
    deadly, harmless = queue("render")
    work_until_done()
    assert state_of(deadly) == ("FAILED", "poison")
    assert ("FAILED", "poison") in {state_of(delivery) for delivery in harmless}


def test_one_that_kills_in_its_act_leaves_no_other_in_doubt(acts: Path) -> None:
    deadly, harmless = queue("perform")
    assert work_until_done() == LOST_LIMIT
    assert state_of(deadly) == ("REVIEW", "lost")
    assert {state_of(delivery) for delivery in harmless} == {("SENT", None)}
    assert max(lost(harmless).values()) == 2  # from then on it is taken alone
    assert set(acts.read_text().split()) == {delivery.key for delivery in harmless}


def test_without_being_taken_alone_it_leaves_others_in_doubt(acts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Job, "suspect", lambda job: False)
    deadly, harmless = queue("perform")
    work_until_done()
    assert state_of(deadly) == ("REVIEW", "lost")
    assert ("REVIEW", "lost") in {state_of(delivery) for delivery in harmless}


def test_suspects_are_taken_one_by_one_and_the_others_go_on(acts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one worker that stays: a suspect waits until nothing is under way, then it goes first."""
    _, harmless = queue("")
    for delivery in harmless[::3]:
        died_once(delivery)
    taken: list[list[bool]] = []
    claim = delivery_claim.claim

    def look(limit: int, kinds: Any, beside: bool, passing_by: Any) -> Any:
        claimed = claim(limit, kinds, beside, passing_by)
        taken.append([job.suspect() for job in claimed.jobs])
        assert not (beside and any(taken[-1]))
        return claimed

    monkeypatch.setattr(delivery_claim, "claim", look)
    while deliver_batch():
        pass
    assert taken.count([True]) == len(harmless[::3]) == sum(map(sum, taken))
    assert {state_of(delivery) for delivery in harmless} == {("SENT", None)}
    assert len(acts.read_text().split()) == HARMLESS + 1


def test_a_suspect_that_cannot_be_taken_now_keeps_nobody_waiting(acts: Path) -> None:
    """Its run is locked by somebody for as long as that may take."""
    _, harmless = queue("")
    held = harmless[0]
    died_once(held)
    with held_by_another("SELECT 1 FROM automations_run WHERE id = %s FOR UPDATE", held.run_id):
        while deliver_batch():
            pass
        assert state_of(held) == ("QUEUED", None)
        assert {state_of(delivery) for delivery in harmless[1:]} == {("SENT", None)}
    assert deliver_batch() == 1
    assert state_of(held) == ("SENT", None)


def test_others_have_their_turn_while_there_are_suspects(acts: Path) -> None:
    """Of another workspace and due for longer: it is not kept until the last suspect is through."""
    elsewhere = World().delivery(Envelope(kind="http", body={}, retries=3), Calls.key)
    _, suspects = queue("")
    for delivery in suspects:
        died_once(delivery)
    Delivery.objects.filter(pk=elsewhere.pk).update(due_at=F("due_at") - timedelta(hours=1))
    while deliver_batch():
        pass
    assert elsewhere.key in acts.read_text().split()[:3]


def test_one_that_a_worker_has_outlived_since_is_no_suspect(acts: Path) -> None:
    """Its try came back, with a failure that is repeated; from then on it is tried beside others again."""
    _, harmless = queue("")
    outlived = harmless[0]
    died_once(outlived)
    DeliveryAttempt.objects.create(
        workspace_id=outlived.workspace_id, delivery=outlived, number=2, fence=2, outcome="failed",
        at=outlived.created_at, started_at=outlived.created_at,
    )  # fmt: skip
    Delivery.objects.filter(pk=outlived.pk).update(attempts=2, fence=2)
    assert len(delivery_claim.claim(HARMLESS).jobs) == HARMLESS


def test_a_suspect_that_cannot_be_settled_stops_nothing_else(acts: Path) -> None:
    _, harmless = queue("")
    bad = harmless.pop(0)
    for number in range(1, LOST_LIMIT + 1):
        died_once(bad, number)
    refusing = f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF new.id = {bad.pk} AND new.state = 'FAILED' THEN RAISE EXCEPTION 'no'; END IF; RETURN new; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON automations_delivery FOR EACH ROW EXECUTE FUNCTION refuse()"""
    with connection.cursor() as cursor:
        cursor.execute(refusing)
    try:
        while deliver_batch():
            pass
        assert {state_of(delivery) for delivery in harmless} == {("SENT", None)}
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER refuse ON automations_delivery; DROP FUNCTION refuse()")


def test_an_owner_that_was_late_and_that_nobody_took_over_is_believed(acts: Path) -> None:
    """It stood still for longer than its lease; another worker saw that, and took a suspect only."""
    world = World()
    mine, suspect = (world.delivery(Envelope(kind="http", body={}, retries=3), Calls.key) for _ in range(2))
    died_once(suspect)
    Delivery.objects.filter(pk=suspect.pk).update(due_at=None)
    (job,) = deliver.take(1, None).jobs
    deliver.act(job)
    expire_lease(mine)
    Delivery.objects.filter(pk=suspect.pk).update(due_at=suspect.due_at)
    delivery_claim._Turn.suspects_first = True
    delivery_claim._workspaces.forget()
    assert [other.id for other in deliver.take(8, None).jobs] == [suspect.pk]
    settle_acts([job])
    assert state_of(mine) == ("SENT", None)
    assert not lost([mine])


def died_once(delivery: Delivery, number: int = 1) -> None:
    """A worker was lost while it made the bytes, and the delivery was put back since."""
    Delivery.objects.filter(pk=delivery.pk).update(attempts=number, fence=number)
    DeliveryAttempt.objects.create(
        workspace_id=delivery.workspace_id, delivery=delivery, number=number, fence=number, outcome="lost",
        at=delivery.created_at, started_at=delivery.created_at,
    )  # fmt: skip


@contextmanager
def held_by_another(statement: str, *values: Any) -> Iterator[None]:
    """Another session has these rows."""
    parameters = {
        name: value for name, value in connection.get_connection_params().items() if name not in poison._DJANGO
    }
    with psycopg.connect(**parameters) as other:
        other.execute(statement, values)
        yield
        other.rollback()
