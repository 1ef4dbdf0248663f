"""The race of many callers who tell the same: one event fifty times, batches in opposite orders, customers nobody knew (E2, E3, TRG-50;
RELIABILITY 19)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from accounts.models import Customer
from automations.models import Event, Run
from automations.services import event_rows
from automations.services.events import NewEvent, Recorded, record_events
from automations.services.intake import post_events
from tests.chaos.blocking import until_blocked
from tests.chaos.races.gates import committed_late, gate, rolled_back, without_constraint
from tests.chaos.races.race import AT_ONCE, RESTING, Guard, Race
from tests.factories import ApiClient, make_api_key, make_customer, unique
from tests.worker.living import live
from tests.worker.racing import Racer, together
from tests.worker.routing import route_all

COPIES = 50


def _without_event_key(patch: pytest.MonkeyPatch) -> AbstractContextManager[None]:
    text = event_rows._INSERT.replace("on conflict (workspace_id, source, key) do nothing", "")
    patch.setattr(event_rows, "_INSERT", text)
    return without_constraint("automations_event", "event_recorded_once")


class FiftyCopies(Race):
    """Fifty callers post one event at one moment: it is recorded once and starts one run."""

    name, title, rows = "fifty-copies", "50 copies of one event at once", "19, E2, E3"
    orders = (
        "first_not_committed",
        "first_rolls_back",
        "few_crosswise",
        "many_crosswise",
        "newcomers_crosswise",
        AT_ONCE,
    )
    guards = (Guard("the unique key of events", _without_event_key, orders[:1]),)
    checks = ("E2", "E3", "E4", "E5", "E7")
    EVENTS = event_rows.FEW + 5  # of a batch: more than are written by one statement

    def prepare(self) -> None:
        self.automation = live(self.workspace, RESTING)
        self.key = make_api_key(self.workspace, scopes=["events"])[1]

    def begin(self) -> list[NewEvent]:
        """The events of the round; the first of them is the one with the copies."""
        customer, name = make_customer(self.workspace), unique("order")
        return [
            NewEvent(self.workspace.pk, "sign", "api", f"{name}-{n}", {"customer": customer.pk}, {"amount": "11.77"})
            for n in range(self.EVENTS)
        ]

    def post(self, event: NewEvent) -> str:
        """One caller; answers what he was told."""
        body = {"id": event.key, "name": event.name, "customer": f"cus_{event.subjects['customer']}"}
        answer = ApiClient(self.key).post("/events", body | {"payload": event.payload})
        assert answer.status_code in (200, 202), answer.content
        return str(answer.json()["status"])

    def first_not_committed(self, events: list[NewEvent]) -> bool:
        """One has written it; the others come before he commits."""
        with gate(event_rows, "write", after=True) as written:
            first = Racer(lambda: committed_late(lambda: self.post(events[0])))
            written.wait()
            others = [Racer(lambda: self.post(events[0])) for _ in range(COPIES - 1)]
            held = until_blocked(others[-1], unless=lambda: not any(other.alive for other in others))
            written.open()
        self.told([first.result(), *(other.result() for other in others)])
        return held

    def first_rolls_back(self, events: list[NewEvent]) -> bool:
        """The same, and he never commits: another one is the first."""
        with gate(event_rows, "write", after=True) as written:
            first = Racer(lambda: rolled_back(lambda: self.post(events[0])))
            written.wait()
            others = [Racer(lambda: self.post(events[0])) for _ in range(COPIES - 1)]
            held = until_blocked(others[-1], unless=lambda: not any(other.alive for other in others))
            written.open()
        first.result()
        self.told([other.result() for other in others])
        return held

    def few_crosswise(self, events: list[NewEvent]) -> bool:
        return self._recorded_crosswise(events[:5])

    def many_crosswise(self, events: list[NewEvent]) -> bool:
        return self._recorded_crosswise(events)

    def _recorded_crosswise(self, events: list[NewEvent]) -> bool:
        held, answers = self._crosswise(events, record_events)
        accepted = [item.status for some in answers for item in some].count("accepted")
        self.figures.doubled += max(0, accepted - len(events))
        self.figures.lost += max(0, len(events) - accepted)
        self.figures.lost += {item.id for item in answers[0]} != {item.id for item in answers[1]}
        return held

    def newcomers_crosswise(self, events: list[NewEvent]) -> bool:
        """Two callers post the same events of customers who were unknown, in opposite orders."""
        record_events(events[:1])
        wanted = [
            {"id": unique("e"), "name": "seen", "customer": {"email": f"{event.key}@x.example"}} for event in events[:5]
        ]

        def post(items: list[Any]) -> list[Recorded]:
            return post_events(actor=self.actor, body={"events": items})

        held, answers = self._crosswise(wanted, post)
        self.figures.doubled += len({item.id for some in answers for item in some}) != len(wanted)
        emails = [item["customer"]["email"] for item in wanted]
        made = Customer.objects.filter(workspace=self.workspace, email__in=emails).count()
        self.figures.lost += made < len(wanted)
        self.figures.doubled += made > len(wanted)
        return held

    @staticmethod
    def _crosswise(items: list[Any], work: Callable[[list[Any]], list[Recorded]]) -> tuple[bool, list[list[Recorded]]]:
        """Two callers with the same in opposite orders. Somebody else, whose transaction comes to nothing, has written the one in the
        middle: both have come as far as that when he goes. Whether both did, and what they were answered."""
        callers: list[Racer] = []
        waiting: list[bool] = []

        def meanwhile() -> None:
            work([items[len(items) // 2]])
            for order in (items, items[::-1]):
                callers.append(Racer(lambda order=order: work(order)))  # type: ignore[misc]  # bound now
                waiting.append(until_blocked(callers[-1], sides=len(callers)))

        rolled_back(meanwhile)
        return all(waiting), [caller.result() for caller in callers]

    def at_once(self, events: list[NewEvent]) -> bool:
        self.told(together(*[lambda: self.post(events[0])] * COPIES))
        return True

    def told(self, answers: list[str]) -> None:
        self.figures.doubled += answers.count("accepted") > 1
        self.figures.lost += answers.count("accepted") < 1

    def judge(self, events: list[NewEvent]) -> None:
        together(*[route_all] * 3)
        keys = [event.key for event in events]
        recorded = Event.objects.filter(workspace=self.workspace, source="api", key__in=keys)
        runs = Run.objects.filter(automation=self.automation, event_id__in=list(recorded.values_list("pk", flat=True)))
        told = len(set(recorded.values_list("key", flat=True)))
        self.figures.doubled += max(len(recorded), len(runs)) > told
        self.figures.lost += min(len(recorded), len(runs)) < max(1, told)
        self.figures.outcomes[f"{len(runs)} runs of {told} events"] += 1
