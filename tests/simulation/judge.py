"""What must hold after every simulation: what clients were told, what the outside saw, and every rule of the doctor's."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from accounts.models import Consent, Task
from automations.doctor.run import examine
from automations.engine.walk import LATE
from automations.models import Delivery, DeliveryAttempt, Evaluation, Event, Run, StepLog, Version
from billing.models import Invoice, Payment
from tests.simulation.simulation import Simulation

#: Sent once however often it is tried; anything else is repeated only after a try whose end nobody heard.
UNHEARD = ("lost", "unknown", "failed")
ORDERED = ("C1", "C2", "C3")
_STILL = {"QUEUED", "SENDING", "UNKNOWN"}


def faults_of(simulation: Simulation) -> list[str]:
    """Everything that is wrong, in words; nothing is health. The walked database is at hand."""
    judges = (_recorded, _fired, _entered, _ended, _logged, _acted, _paid, _left_alone, _examined, _said)
    return [f"{judge.__name__.strip('_')}: {text}" for judge in judges for text in judge(simulation)]


def _recorded(simulation: Simulation) -> Iterator[str]:
    """E1: every event that was acknowledged is stored once, under the id that was told."""
    stored = defaultdict(list)
    for key, id in Event.objects.filter(source="api").values_list("key", "pk"):
        stored[key].append(id)
    for key, id in simulation.world.acknowledged.items():
        if stored[key] != [id]:
            yield f"{key} was acknowledged as {id} and is stored as {stored[key]}"
    unanswered = [client.number for client in simulation.clients if len(client.answered) < len(client.requests)]
    yield from (f"client {number} was never answered" for number in unanswered)


def _fired(simulation: Simulation) -> Iterator[str]:
    """T2: a schedule fires once for each of its moments."""
    moments = Event.objects.filter(name="schedule").values_list("only_automation", "occurred_at")
    yield from (
        f"auto_{id} fired {count} times for {moment}" for (id, moment), count in Counter(moments).items() if count > 1
    )


def _entered(simulation: Simulation) -> Iterator[str]:
    """E3: each event has at each automation that hears it one run, or one reason why not."""
    decided = {
        row.event_id: {item["automation"]: item["outcome"] for item in row.decisions}
        for row in Evaluation.objects.all()
    }
    runs = Counter(Run.objects.values_list("event_id", "automation_id"))
    world = simulation.world
    heard = {"sign": [id for name, id in world.automations.items() if name not in ("money", "clockwork")]}
    heard["payment.failed"] = [world.automations["money"]] if "money" in world.automations else []
    for event, name in Event.objects.values_list("pk", "name"):
        for automation in heard.get(name, ()):
            outcome = decided.get(event, {}).get(f"auto_{automation}", "")
            if runs[event, automation] + (outcome == "skipped") != 1:
                yield f"evt_{event} ({name}) has {runs[event, automation]} runs at auto_{automation}, said: {outcome or 'nothing'}"
    for (event, automation), count in runs.items():
        if count > 1:
            yield f"evt_{event} has {count} runs at auto_{automation}"


def _ended(simulation: Simulation) -> Iterator[str]:
    """Every run has ended, unless it waits for an event without a time-out or for a person."""
    in_review = set(Delivery.objects.filter(state="REVIEW").values_list("run_id", flat=True))
    for run in Run.objects.filter(ended_at=None):
        waits = run.status == "WAITING_FOR_EVENT" and run.due_at is None
        asked = run.parked_on == "delivery" and run.pk in in_review
        if not (waits or asked):
            yield f"exec_{run.pk} still stands at {run.step} ({run.status}, {run.parked_on}, due {run.due_at})"
    for run in Run.objects.filter(end_reason__in=("poison", "failed")):
        if run.end_reason == "poison" or (run.error or {}).get("code") == "internal":
            yield f"exec_{run.pk} failed: {run.error}"


def _logged(simulation: Simulation) -> Iterator[str]:
    """Each visit has one end, visits follow each other along the wires, and each task was made by its step."""
    wires = {id: _wires(definition) for id, definition in Version.objects.values_list("pk", "definition")}
    versions = dict(Run.objects.values_list("pk", "version_id"))
    visits: dict[int, dict[int, str]] = defaultdict(dict)
    made: Counter[int] = Counter()
    for row in StepLog.objects.order_by("run_id", "seq", "attempt", "recorded_at"):
        if row.flags & LATE or row.status == "failed":
            if not row.flags & LATE:
                visits[row.run_id].setdefault(row.seq, row.step)
            continue
        made[row.run_id] += row.type == "create_task"
        if row.seq in visits[row.run_id] and visits[row.run_id][row.seq] != row.step:
            yield f"exec_{row.run_id} has visit {row.seq} at {row.step} and at {visits[row.run_id][row.seq]}"
        visits[row.run_id][row.seq] = row.step
    yield from _doubled()
    for run, steps in visits.items():
        for before, after in zip(sorted(steps), sorted(steps)[1:], strict=False):
            if after != before + 1 or (steps[before], steps[after]) not in wires[versions[run]]:
                yield f"exec_{run} went from {steps[before]} ({before}) to {steps[after]} ({after})"
    tasks = Counter(
        Task.objects.filter(run_id__isnull=False).exclude(title__startswith="Find out").values_list("run_id", flat=True)
    )
    for id in made.keys() | tasks.keys():
        if made[id or 0] != tasks[id]:
            yield f"exec_{id} made {tasks[id]} tasks in {made[id or 0]} steps"


def _doubled() -> Iterator[str]:
    """A visit and attempt that ended twice."""
    ends = StepLog.objects.exclude(flags=LATE).exclude(flags=LATE | 1).values_list("run_id", "seq", "attempt")
    for (run, seq, attempt), count in Counter(ends).items():
        if count > 1:
            yield f"exec_{run} logged visit {seq}, attempt {attempt}, {count} times"


def _wires(definition: dict[str, Any]) -> set[tuple[str, str]]:
    """From where to where a run may go, the way back to its loop included."""
    found = {(edge["from"], edge["to"]) for edge in definition["edges"]}
    loops = {node["id"] for node in definition["nodes"] if node["type"] == "loop"}
    bodies = {
        (edge["from"], edge["to"]) for edge in definition["edges"] if edge["from"] in loops and edge["port"] == "each"
    }
    for loop, first in bodies:
        reached, new = {first}, {first}
        while new:
            new = {to for at, to in found if at in new} - reached
            reached |= new
        found |= {(at, loop) for at in reached} | {(loop, to) for at, to in found if at == loop}
        found |= {(at, first) for at in reached} | {(at, to) for at in reached for of, to in found if of == loop}
    return found


def _acted(simulation: Simulation) -> Iterator[str]:
    """The outside saw each effect once, or again with the same key and bytes after a try whose end nobody heard."""
    peers = simulation.peers
    tries: dict[int, list[str]] = defaultdict(list)
    for id, outcome in DeliveryAttempt.objects.values_list("delivery_id", "outcome"):
        tries[id].append(outcome)
    known = set()
    for delivery in Delivery.objects.all():
        record = {"email": peers.mails, "http": peers.calls, "charge": peers.charges}[delivery.kind]
        known.add(delivery.key)
        acts, unheard = record.acts[delivery.key], sum(item in UNHEARD for item in tries[delivery.pk])
        if len(record.bytes[delivery.key]) > 1:
            yield f"dlv_{delivery.pk} was handed over with different bytes"
        if acts > unheard + (delivery.state == "SENT"):
            yield f"dlv_{delivery.pk} ({delivery.state}) was done {acts} times in the tries {tries[delivery.pk]}"
        if delivery.state == "SENT" and not acts:
            yield f"dlv_{delivery.pk} is SENT and was never done"
        if delivery.state in _STILL:
            yield f"dlv_{delivery.pk} is {delivery.state} at rest"
    for record in (peers.mails, peers.calls, peers.charges):
        yield from (f"{key} was done and is no delivery" for key in record.acts.keys() - known)


def _paid(simulation: Simulation) -> Iterator[str]:
    """M1: our books are the provider's, and no invoice was charged twice."""
    booked = {key: charge.amount for key, charge in simulation.peers.gateway.ledger.items()}
    ours = dict(Payment.objects.filter(status="succeeded").values_list("key", "amount"))
    open_ = set(Payment.objects.filter(status__in=("pending", "unknown")).values_list("key", flat=True))
    if {key: amount for key, amount in booked.items() if key not in open_} != ours:
        yield f"the provider charged {booked}, we have {ours}"
    of = Counter(charge.invoice for charge in simulation.peers.gateway.ledger.values())
    yield from (f"inv_{invoice} was charged {count} times" for invoice, count in of.items() if count > 1)
    paid = set(Invoice.objects.filter(status="paid").values_list("pk", flat=True))
    if not open_ and paid != set(of):
        yield f"paid are {sorted(paid)}, charged were {sorted(of)}"


def _left_alone(simulation: Simulation) -> Iterator[str]:
    """C1 by the clients' own clock: nothing begins to be sent after the client heard that the address is unsubscribed."""
    told = {
        request.name.removeprefix("unsubscribe "): at
        for client in simulation.clients
        for request, _answer, at in client.answered
        if request.name.startswith("unsubscribe ")
    }
    silent = set(Consent.objects.filter(state="unsubscribed").values_list("address", flat=True))
    for address, at in told.items():
        if address not in silent:
            yield f"{address} was told to be unsubscribed and is not"
        for delivery in Delivery.objects.filter(to=address, customer_mail=True, sending_at__isnull=False):
            if delivery.sending_at is not None and (delivery.sending_at - simulation.began).total_seconds() > at:
                yield f"dlv_{delivery.pk} began to be sent after {address} was unsubscribed"


def _examined(simulation: Simulation) -> Iterator[str]:
    """Every rule of the doctor's. After a clock was set back the three that ask whether one moment lies after another say nothing."""
    for finding in examine(at_rest=True):
        if not (simulation.points.backs and finding.check.id in ORDERED):
            yield f"{finding.check.id} {finding.check.title}: {', '.join(finding.rows)}"


def _said(simulation: Simulation) -> Iterable[str]:
    """A death is nobody's error; only where a connection breaks may a worker complain."""
    return simulation.errors if not simulation.points.cuts else []
