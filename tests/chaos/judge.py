"""Holding the product against what its clients were told and what its peers saw. `figures` is filled before anything is demanded."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection

from accounts.models import Task
from automations.doctor.run import examine
from automations.engine.walk import LATE
from automations.models import Delivery, DeliveryAttempt, Evaluation, Event, Run, StepLog, Tally, TallyDelta, Version
from automations.worker.policy import LOST_LIMIT
from tests.chaos.clients import Told
from tests.chaos.flow import expected
from tests.chaos.peers import Mailbox, Payments, Receiver, Record

_SUBJECT = re.compile(r"(Hello|Bye|Taken|Thanks|Pity) (\d+) v (\d+)")


@dataclass
class Judge:
    """All that is known outside of the product, and its automations: those of the flow, and those that wait."""

    told: Told
    mail: Mailbox
    hook: Receiver
    payments: Payments
    flows: list[int]
    waits: list[int]
    quick: list[int]
    runs: int  # how many there must be of the flow
    leavers: frozenset[int] = frozenset()  # customers that may have unsubscribed
    figures: dict[str, Any] = field(default_factory=dict)
    older: bool = False  # a release works beside whose waits counted from when a run stood there

    def judge(self) -> None:
        """Raises AssertionError with what is wrong."""
        runs = {run.event_id: run for run in Run.objects.filter(automation__in=self.flows)}
        numbers = {id: number for (name, number), id in self.told.events.items() if name == "sign"}
        self._count(runs, numbers)
        assert not self.told.wrong, self.told.wrong[:5]
        self._judge_events(runs, numbers)
        poisoned = {run.pk for run in runs.values() if run.end_reason == "poison"}
        # Poison (DESIGN 5.2) may strike a run that three workers died with by chance. It ends in sight of everybody.
        assert len(poisoned) <= 3 + self.runs // 200
        known = {runs[id]: number for id, number in numbers.items()}
        self._judge_logs(known, poisoned)
        self._judge_deliveries()
        self._judge_outside({run.pk: number for run, number in known.items()})
        self._judge_versions(runs.values())
        self._judge_leavers()
        self.judge_waits()
        findings = [finding.as_json() for finding in examine(at_rest=True)]
        self.figures["doctor"] = len(findings)
        assert findings == []

    def _count(self, runs: dict[int, Run], numbers: dict[int, int]) -> None:
        started = Counter(Run.objects.filter(automation__in=self.flows).values_list("event_id", flat=True))
        ended = Counter(run.end_reason or run.status for run in runs.values())
        self.figures |= {
            "acknowledged": len(self.told.events), "said again": self.told.repeated, "runs": sum(started.values()),
            "lost": len(set(numbers) - set(runs)) + self._events_missing(),
            "doubled inside": sum(count - 1 for count in started.values()) + len(set(runs) - set(numbers)) + self._tasks_doubled(),
            "ends": dict(ended), "answers": dict(self.told.answers), "published": sum(self.told.published.values()),
            "unsubscribed": len(self.told.left),
            "never sent": Delivery.objects.filter(state="FAILED").count(),
            "lost attempts": DeliveryAttempt.objects.filter(outcome="lost").count(),
            "given up": [str(row.decisions) for row in Evaluation.objects.filter(decisions__0__has_key="error")],
            "in doubt": Delivery.objects.filter(state="REVIEW").count(),
            "mails": figures(self.mail.record), "calls": figures(self.hook.record), "charges": figures(self.payments.record),
        }  # fmt: skip

    def _events_missing(self) -> int:
        known = set(self.told.events.values())
        return len(known) - Event.objects.filter(pk__in=known).count()

    def _tasks_doubled(self) -> int:
        tasks = Counter(Task.objects.exclude(run_id=None).values_list("run_id", "message"))
        return sum(count - 1 for count in tasks.values())

    def _judge_events(self, runs: dict[int, Run], numbers: dict[int, int]) -> None:
        """Each acknowledged event is there, each that is there was acknowledged, and each started its one run."""
        for name, count in Counter(name for name, _ in self.told.events).items():
            assert Event.objects.filter(name=name).count() == count, name
        assert len(numbers) == self.runs
        assert sorted(runs) == sorted(numbers)  # none lost, none doubled
        assert Run.objects.filter(automation__in=self.flows).count() == self.runs

    def _judge_logs(self, runs: dict[Run, int], poisoned: set[int]) -> None:
        """Each step of each run once; each task once; each count agrees. What came too late to matter is a row beside the step's own: of
        a mail that was tried again after its reader had left."""
        logs: defaultdict[int, list[str]] = defaultdict(list)
        steps = (
            StepLog.objects.filter(status__in=("succeeded", "skipped")).exclude(flags=LATE).order_by("run_id", "seq")
        )
        for id, step in steps.values_list("run_id", "step"):
            logs[id].append(step)
        failed = list(StepLog.objects.filter(status="failed").values_list("run_id", "seq", "attempt", "step"))
        assert len(set(failed)) == len(failed)
        badly: defaultdict[int, set[str]] = defaultdict(set)
        for id, _, _, step in failed:
            badly[id].add(step)
        whole = [run for run in runs if run.pk not in poisoned]
        for run in whole:
            way = expected(logs[run.pk], runs[run], badly[run.pk])
            if run.status == "CANCELLED" and run.customer_id in self.told.left:
                assert logs[run.pk] == way[: len(logs[run.pk])], run
                continue
            assert run.status == "COMPLETED", (run, run.status, run.end_reason, run.error)
            assert logs[run.pk] == way, (run, logs[run.pk], way)
        self._judge_tasks({run.pk for run in whole if run.status == "COMPLETED"})

    def _judge_tasks(self, whole: set[int]) -> None:
        tasks = Counter(Task.objects.filter(message__startswith="Call number").values_list("run_id", flat=True))
        assert set(tasks.values()) <= {1}
        assert whole <= set(tasks)
        noted = Tally.objects.filter(step="note", port="next").values_list("count", flat=True)
        more = TallyDelta.objects.filter(step="note", port="next").values_list("count", flat=True)
        assert sum(noted) + sum(more) == sum(tasks.values())

    def _record_of(self, kind: str) -> Record:
        return {"email": self.mail.record, "http": self.hook.record, "charge": self.payments.record}[kind]

    def _judge_deliveries(self) -> None:
        """Outside: the same key and the same bytes, no more often than workers were lost or answers not heard."""
        lost = Counter(DeliveryAttempt.objects.filter(outcome="lost").values_list("delivery_id", flat=True))
        known: set[str] = set()
        for delivery in Delivery.objects.all():
            record, key = self._record_of(delivery.kind), delivery.key
            known.add(key)
            acts = record.acts[key]
            assert len(record.bytes[key]) <= 1, f"{key} was handed over with different bytes"
            if delivery.state == "SENT":
                assert acts >= 1, f"{key} was never handed over"
            if delivery.kind == "email":
                assert acts <= 1, f"{key} reached a customer {acts} times"
            assert acts <= 1 + lost[delivery.pk] + (key in record.hung_up), f"{key} was done {acts} times"
            if delivery.state == "FAILED":  # by chance three in a row died while they made its bytes; its run says so
                assert (delivery.error or {}).get("code") == "poison", (delivery.pk, delivery.error)
                assert acts == 0, f"{key} was said to be never sent"
                assert lost[delivery.pk] >= LOST_LIMIT, (delivery.pk, lost[delivery.pk])
            else:
                assert delivery.state in ("SENT", "REVIEW", "CANCELLED", "SUPPRESSED"), (delivery.pk, delivery.state)
        records = (self.mail.record, self.hook.record, self.payments.record)
        assert {key for record in records for key in record.acts} <= known
        assert Delivery.objects.values("run_id", "visit", "effect").distinct().count() == Delivery.objects.count()

    def _judge_outside(self, numbers: dict[int, int]) -> None:
        """By what it was about, not by its key: nobody was charged, called or written to twice for one number."""
        assert set(self.payments.charged.values()) <= {1}, "somebody was charged twice"
        paid = Delivery.objects.filter(kind="charge", state="SENT").values_list("run_id", flat=True)
        assert {numbers[run] for run in paid} <= set(self.payments.charged), "a charge that was said to be made was not"
        assert set(self.payments.charged) <= set(numbers.values())
        calls = Counter(int(json.loads(said)["number"]) for said in self.hook.record.said.values())
        assert set(calls.values()) <= {1}, "one call went out under two keys"
        mails = Counter(_SUBJECT.match(said[1]).group(1, 2) for said in self.mail.record.said.values())
        assert set(mails.values()) <= {1}, "one mail went out under two keys"

    def _judge_versions(self, runs: Iterable[Run]) -> None:
        """A run keeps the version it began with: whatever it says outside names that one (RELIABILITY 23)."""
        texts = {version.pk: _version_of(version) for version in Version.objects.filter(automation__in=self.flows)}
        versions = {run.pk: texts[run.version_id] for run in runs}
        self.figures["versions walked"] = len(set(versions.values()))
        told = Delivery.objects.filter(run_id__in=versions).exclude(kind="charge")
        for key, run in told.values_list("key", "run_id"):
            said = self.mail.record.said.get(key) or self.hook.record.said.get(key)
            if said is not None:
                named = _SUBJECT.match(said[1]).group(3) if isinstance(said, tuple) else json.loads(said)["version"]
                assert str(named) == versions[run], f"{key} speaks for version {named}, its run has {versions[run]}"

    def _judge_leavers(self) -> None:
        """No mail to somebody who was told to be unsubscribed, but for what was claimed before (C1, RELIABILITY 22)."""
        assert set(self.told.left) <= self.leavers
        late = 0.0
        mails = Delivery.objects.filter(kind="email", customer_id__in=self.told.left)
        for key, customer, sending in mails.values_list("key", "customer_id", "sending_at"):
            after = [at for at in self.mail.record.moments.get(key, ()) if at > self.told.left[customer]]
            if after:
                assert isinstance(sending, datetime)
                assert sending.timestamp() < self.told.left[customer], f"{key} was claimed after its customer had left"
                late = max(late, max(after) - self.told.left[customer])
        self.figures["latest mail after leaving"] = round(late, 2)

    def judge_waits(self) -> None:
        """Each order has one answer of each flow that waits for its payment, and it was not overlooked that it was paid (W1). The one
        answers by a task, the other by a mail."""
        tasks = Task.objects.filter(message__regex="^(Paid|Unpaid) ").values_list("run_id", "message")
        quick = Run.objects.filter(automation__in=self.quick).values("pk")
        steps = StepLog.objects.filter(run_id__in=quick, step__in=("yes", "no")).exclude(flags=LATE)
        mails = steps.exclude(status="failed").values_list("run_id", "step")
        self._judge_answers(self.waits, [(run, said.startswith("Paid")) for run, said in tasks if run], "waits")
        if self.quick:
            self._judge_answers(self.quick, [(run, step == "yes") for run, step in mails], "quick waits")
            self.figures["walked at once"] = _walked_at_once(self.quick)

    def _judge_answers(self, automations: list[int], answers: Iterable[tuple[int, bool]], name: str) -> None:
        """`answers`: runs, and whether they were told of the payment."""
        orders = {id: number for (name, number), id in self.told.events.items() if name == "order"}
        waiting = {run.event_id: run for run in Run.objects.filter(automation__in=automations)}
        assert Run.objects.filter(automation__in=automations).count() == len(waiting)
        assert sorted(waiting) == sorted(orders)
        count = Counter(run for run, _ in answers)
        unpaid = {run for run, paid in answers if not paid}
        for run in waiting.values():
            if run.end_reason == "poison" or (run.status == "CANCELLED" and run.customer_id in self.told.left):
                continue
            assert run.status == "COMPLETED", (run, run.status, run.end_reason)
            assert count[run.pk] == 1, f"{run} had {count[run.pk]} answers"
        self._judge_overlooked({run: orders[event] for event, run in waiting.items() if run.pk in unpaid})
        self.figures[name] = {"woken": len(waiting) - len(unpaid), "timed out": len(unpaid)}

    def _judge_overlooked(self, unpaid: dict[Run, int]) -> None:
        """No run timed out whose payment, known by its number, was routed after its order and before its time-out."""
        events = Event.objects.filter(pk__in=[id for (name, _), id in self.told.events.items() if name == "paid"])
        paid = {int(event.key.rpartition("-")[2]): event for event in events.select_related("routed")}
        stood = {log.run_id: log for log in StepLog.objects.filter(step="hear", run_id__in=[run.pk for run in unpaid])}
        for run in Run.objects.filter(pk__in=stood).select_related("event__routed"):
            payment, log = paid.get(unpaid[run]), stood[run.pk]
            if payment is None or payment.routed_at > log.ended_at:
                continue
            since = (
                payment.routed_at < log.started_at if self.older else payment.routed.number < run.event.routed.number
            )
            assert since, f"{run} overlooked that it was paid"


def _walked_at_once(automations: list[int]) -> int:
    """Runs whose first step was written by the transaction that routed their event."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM automations_run r JOIN automations_routed e ON e.event_id = r.event_id "
            "JOIN automations_step_log l ON l.run_id = r.id AND l.seq = 1 AND l.xmin = e.xmin WHERE r.automation_id = ANY(%s)",
            [automations],
        )
        return int(cursor.fetchone()[0])


def _version_of(version: Version) -> str:
    node = next(node for node in version.definition["nodes"] if node["id"] == "bye")
    return str(node["config"]["subject"]).rpartition(" ")[2]


def figures(record: Record) -> dict[str, int]:
    """Acts by keys."""
    repeated = sum(1 for count in record.acts.values() if count > 1)
    other = sum(1 for found in record.bytes.values() if len(found) > 1)
    return {
        "keys": len(record.acts), "acts": record.acts.total(), "repeated": repeated, "hung up": len(record.hung_up),
        "other bytes": other,
    }  # fmt: skip
