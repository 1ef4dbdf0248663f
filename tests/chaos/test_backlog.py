"""Nobody works for an hour while callers go on telling: what was accepted is stored, and all of it is done when workers come back, each
once (RELIABILITY 35; INVARIANTS E1, E3, E4). Then the same with an event that nobody routed, which must be noticed."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from django.db import connection

from accounts.clock import set_clock
from automations.doctor.run import examine
from automations.models import Event, Run, StepLog
from automations.worker.route import route_batch
from tests.factories import make_api_client, make_customer, make_workspace
from tests.worker.living import live, settle
from tests.worker.racing import together

pytestmark = pytest.mark.django_db(transaction=True)
EVENTS, TOGETHER = 400, 40
FLOW = "steps: [{id: tag, type: action, action: add_tag, tag: seen}, {id: rest, type: delay, duration: 5d}]"


def tell(chance: random.Random) -> dict[str, int]:
    """Post all of them, some twice, from several callers; answers what they were told: the id of each event."""
    workspace = make_workspace()
    live(workspace, FLOW)
    people = [make_customer(workspace).public_id for _ in range(20)]
    bodies = [{"id": f"e{n}", "name": "sign", "customer": chance.choice(people)} for n in range(EVENTS)]
    posts = [bodies[start : start + TOGETHER] for start in range(0, EVENTS, TOGETHER)]
    posts += chance.sample(posts, 4)
    chance.shuffle(posts)
    clients = [make_api_client(workspace, scopes=["events"]) for _ in range(4)]

    def post(caller: int) -> dict[str, int]:
        told: dict[str, int] = {}
        for events in posts[caller :: len(clients)]:
            answer = clients[caller].post("/events", {"events": events})
            assert answer.status_code == 202, answer.content
            ids = [int(item["id"].removeprefix("evt_")) for item in answer.json()["events"]]
            told |= dict(zip([event["id"] for event in events], ids, strict=True))
        return told

    told: dict[str, int] = {}
    for heard in together(*[lambda caller=caller: post(caller) for caller in range(len(clients))]):
        assert all(told.get(key, id) == id for key, id in heard.items()), "two answers about one event differ"
        told |= heard
    return told


def missing(told: dict[str, int]) -> int:
    """How many accepted events have not exactly one run that has done its first step."""
    runs = dict(Run.objects.filter(event_id__in=told.values()).values_list("pk", "event_id"))
    steps = Counter(StepLog.objects.filter(run_id__in=list(runs), step="tag").values_list("run_id", flat=True))
    done = Counter({runs[run]: count for run, count in steps.items()})
    return sum(1 for id in told.values() if done[id] != 1 or list(runs.values()).count(id) != 1)


def test_what_was_accepted_while_nobody_worked_is_done_by_those_who_come_back(settings: Any) -> None:
    settings.ONWARD_ALLOW_CLOCK = True
    told = tell(random.Random(35))
    assert len(told) == len(set(told.values())) == Event.objects.filter(name="sign").count() == EVENTS
    set_clock("+1h")
    together(*[route_batch] * 3)
    settle()
    assert missing(told) == 0
    assert Run.objects.count() == EVENTS
    assert [
        finding.as_json() for finding in examine(only=["E2", "E3", "E4", "E5", "E7", "R1", "S1"], at_rest=True)
    ] == []


def test_an_event_that_left_the_queue_without_being_routed_is_missed(settings: Any) -> None:
    settings.ONWARD_ALLOW_CLOCK = True
    told = tell(random.Random(36))
    with connection.cursor() as cursor:
        cursor.execute(
            "with gone as (delete from automations_unrouted where event_id = %s returning event_id, workspace_id)"
            " insert into automations_routed (event_id, workspace_id, routed_at) select *, now() from gone",
            [min(told.values())],
        )
    settle()
    assert missing(told) == 1
