"""The services under any sequence of acts, against a small model (INVARIANTS R, E, S; DESIGN 5.1 to 5.5; RELIABILITY 20, 34).

People make, edit, publish, pause, resume and start automations, post events, merge, erase and unsubscribe customers, and cancel runs;
workers do a part or all of what is due; time passes. The model knows which runs there must be, which of them must be cancelled, and that
every other one does its one effect exactly once, however long that takes. After every example the doctor is silent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from accounts.clock import set_clock
from accounts.errors import Refusal
from accounts.models import Task
from accounts.services.consent import record_consent
from accounts.services.erasure import erase_customer
from accounts.services.lifecycle import merge_customers
from automations.doctor.run import examine
from automations.models import Automation, Run
from automations.services import cancel, drafts, entry, intake, pause, publish
from automations.services.executions import RunFilter
from automations.worker.advance import advance_batch
from automations.worker.loop import drain
from automations.worker.route import route_batch
from automations.worker.second_look import look_again
from tests.factories import actor_of, make_customer, make_workspace, unique

_EFFECT = '{id: note, type: action, action: create_task, title: Note, message: "{{run.id}}"}'
_FLOWS = {
    "delayed": ("{type: event, event: sign}", "{id: rest, type: delay, duration: %s}"),
    "listening": ("{type: event, event: sign}", "{id: wait, type: wait_until, event: reply, timeout: %s}"),
    "manual": ("{type: manual}", "{id: rest, type: delay, duration: %s}"),
}
KEYS = st.sampled_from(list(_FLOWS))
PICK = st.integers(0, 5)


def _text(key: str, time: str) -> str:
    trigger, first = _FLOWS[key]
    return f"name: {key}\ntrigger: {trigger}\nsteps: [{first % time}, {_EFFECT}]\n"


@dataclass
class Known:
    """What the model holds of an automation."""

    id: int
    state: str = "DRAFT"
    draft: bool = True
    held: bool = False


@dataclass
class Started:
    """What it holds of a run: `end` is `cancelled` when it must be, `either` when it may be."""

    key: str
    customer: int
    end: str = ""


@dataclass
class Said:
    """An event that no worker has routed yet, as far as the model knows."""

    id: int
    customer: int
    name: str


@dataclass
class Model:
    """Everything the model holds. Runs by automation and event."""

    automations: dict[str, Known] = field(default_factory=dict)
    runs: dict[tuple[int, int], Started] = field(default_factory=dict)
    said: list[Said] = field(default_factory=list)
    people: dict[int, str] = field(
        default_factory=dict
    )  # customer -> address, of those who are neither merged nor erased
    left: set[int] = field(default_factory=set)  # who has unsubscribed

    def route(self) -> None:
        """Every event that was said starts a run of every ACTIVE automation that listens (`always`, parallel)."""
        for event in self.said:
            for key in ("delayed", "listening"):
                known = self.automations[key]
                if event.name == "sign" and known.state == "ACTIVE":
                    self.runs[known.id, event.id] = Started(key, event.customer)
        self.said = []

    def cancel(self, end: str = "cancelled", **by: Any) -> None:
        """These runs end now, unless they have ended by themselves."""
        for run in self.runs.values():
            if all(getattr(run, name) == value for name, value in by.items()) and run.end != "cancelled":
                run.end = end


class Living(RuleBasedStateMachine):
    """One workspace; it is rolled back at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._own = transaction.atomic()
        self._own.__enter__()
        self.workspace = make_workspace()
        self.actor = actor_of(self.workspace)
        self.model = Model()
        for key in _FLOWS:
            made = drafts.create_automation(actor=self.actor, body=_text(key, "3d"), fmt="yaml")
            self.model.automations[key] = Known(made.automation.pk)
            self.publish(key)
        self.join()
        self.say(0, "sign", False)
        self._work()  # every history begins with two runs under way

    # --- people and customers ------------------------------------------------------------------------------------------------

    def _person(self, pick: int) -> int:
        return sorted(self.model.people)[pick % len(self.model.people)]

    @precondition(lambda self: len(self.model.people) < 4)
    @rule()
    def join(self) -> None:
        """Somebody new."""
        customer = make_customer(self.workspace)
        self.model.people[customer.pk] = customer.email

    @rule(pick=PICK)
    def unsubscribe(self, pick: int) -> None:
        """Their runs end at once (SUP-05)."""
        person = self._person(pick)
        self._work()
        record_consent(actor=self.actor, address=self.model.people[person], state="unsubscribed", customer_id=person)
        if (
            person not in self.model.left
        ):  # saying it again changes nothing: runs that began since then go on without mail
            self._finished()
            self.model.cancel(customer=person)
        self.model.left.add(person)

    @precondition(lambda self: len(self.model.people) > 1)
    @rule(pick=PICK, other=PICK)
    def merge(self, pick: int, other: int) -> None:
        """Their runs go on as those of one."""
        source, into = self._person(pick), self._person(other)
        if source == into:
            return
        merge_customers(actor=self.actor, source_id=source, into_id=into)
        for thing in (*self.model.runs.values(), *self.model.said):
            thing.customer = into if thing.customer == source else thing.customer
        if {source, into} & self.model.left:  # the stricter consent holds for both
            self._finished()
            self.model.cancel("either", customer=into)
            self.model.left.add(into)
        del self.model.people[source]

    @precondition(lambda self: len(self.model.people) > 1)
    @rule(pick=PICK)
    def erase(self, pick: int) -> None:
        """Their runs are cancelled (SUP-06)."""
        person = self._person(pick)
        self._work()
        erase_customer(actor=self.actor, customer_id=person)
        self._finished()
        self.model.cancel(customer=person)
        del self.model.people[person]

    # --- automations ---------------------------------------------------------------------------------------------------------

    @rule(key=KEYS, time=st.sampled_from(("1h", "2d", "5d")))
    def edit(self, key: str, time: str) -> None:
        """A draft, new or changed."""
        known = self.model.automations[key]
        drafts.save_draft(actor=self.actor, automation_id=known.id, body=_text(key, time), fmt="yaml")
        known.draft = True

    @rule(key=KEYS)
    def publish(self, key: str) -> None:
        """The draft comes into force; runs stay on their version. Refused without a draft and while runs are held."""
        known = self.model.automations[key]
        try:
            publish.activate(actor=self.actor, automation_id=known.id)
        except Refusal:
            if known.draft and not known.held:
                raise
            return
        assert known.draft, "activated without a draft"
        known.state, known.draft, known.held = "ACTIVE", False, False

    @rule(key=KEYS, how=st.sampled_from(("finish", "cancel", "hold")))
    def pause(self, key: str, how: str) -> None:
        """No run starts any more; those in flight finish, end or wait (PAU-01 to 05)."""
        known = self.model.automations[key]
        if known.state == "DRAFT":
            return
        pause.pause_automation(actor=self.actor, automation_id=known.id, in_flight=how)
        known.state = "PAUSED"
        known.held = known.held or how == "hold"
        if how == "cancel":
            self._finished()
            self.model.cancel(key=key)

    @rule(key=KEYS, how=st.sampled_from(("continue", "skip", "reanchor")))
    def resume(self, key: str, how: str) -> None:
        """Entry is open again (PAU-06)."""
        known = self.model.automations[key]
        if known.state == "PAUSED":
            pause.resume_automation(actor=self.actor, automation_id=known.id, held=how)
            known.state, known.held = "ACTIVE", False

    # --- events and runs -----------------------------------------------------------------------------------------------------

    @rule(pick=PICK, name=st.sampled_from(("sign", "sign", "reply", "noise")), again=st.booleans())
    def say(self, pick: int, name: str, again: bool) -> None:
        """An event, perhaps sent twice (TRG-50)."""
        person = self._person(pick)
        body = {"name": name, "id": unique("said"), "customer": f"cus_{person}"}
        first = intake.post_events(actor=self.actor, body=body)[0]
        if again:
            second = intake.post_events(actor=self.actor, body=body)[0]
            assert (second.id, second.status) == (first.id, "duplicate")
        self.model.said.append(Said(first.id, person, name))

    @rule(pick=PICK)
    def trigger(self, pick: int) -> None:
        """By hand (TRG-03)."""
        known, person = self.model.automations["manual"], self._person(pick)
        automation = Automation.objects.get(pk=known.id)
        try:
            run = entry.trigger_manually(self.actor, automation, {"customer": person}, {})
        except Refusal:
            if known.state == "ACTIVE":
                raise
            return
        self.model.runs[known.id, run.event_id] = Started("manual", person)

    def _open(self) -> list[Run]:
        return list(Run.objects.filter(workspace=self.workspace, ended_at=None).order_by("pk"))

    @rule(pick=PICK)
    def cancel_one(self, pick: int) -> None:
        """A person ends a run (PAU-11)."""
        runs = self._open()
        if runs:
            run = runs[pick % len(runs)]
            cancel.cancel_run(actor=self.actor, run_id=run.pk)
            self.model.runs[run.automation_id, run.event_id].end = "cancelled"

    @rule(pick=PICK)
    def cancel_many(self, pick: int) -> None:
        """A person ends all of a customer."""
        person = self._person(pick)
        chosen = RunFilter(customer_id=person)
        count = cancel.preview_cancel(actor=self.actor, filter=chosen)["runs"]
        self._finished()
        cancel.cancel_runs(actor=self.actor, filter=chosen, confirm=count)
        self.model.cancel(customer=person)

    # --- workers and time ----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        drain(deliver=False)
        self.model.route()

    def _finished(self) -> None:
        """Runs that have come to their own end are not cancelled any more by what follows."""
        done = Run.objects.filter(workspace=self.workspace, status="COMPLETED").values_list("automation_id", "event_id")
        for key in done:
            run = self.model.runs.get(key)
            if run is not None and run.end != "cancelled":
                run.customer, run.key = 0, ""

    @rule()
    def work(self) -> None:
        """A worker does all that is due."""
        self._work()

    @rule(part=st.sampled_from((route_batch, advance_batch, look_again)))
    def work_a_little(self, part: Any) -> None:
        """One turn of one part. A batch of the router takes all that there is here."""
        part()
        if part is route_batch:
            self.model.route()

    @rule(step=st.sampled_from(("+1h", "+1d", "+4d")))
    def wait(self, step: str) -> None:
        """Time passes; nobody works."""
        set_clock(step)

    # --- the end -------------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """In the end everything is open and all time passes: what the model says has happened, once."""
        try:
            self.check()
        finally:
            transaction.set_rollback(True)
            self._own.__exit__(None, None, None)

    def check(self) -> None:
        """The model against the rows, and the doctor."""
        self._work()
        self._no_finding()
        for key in _FLOWS:
            self.resume(key, "continue")
        for _ in range(3):
            set_clock("+20d")
            self._work()
        runs = {(run.automation_id, run.event_id): run for run in Run.objects.filter(workspace=self.workspace)}
        missing, more = self.model.runs.keys() - runs.keys(), runs.keys() - self.model.runs.keys()
        assert not missing, f"runs that should be there: {missing}"
        assert not more, f"runs that should not be there: {more}"
        for place, known in self.model.runs.items():
            self._ended(runs[place], known)
        self._no_finding()

    def _ended(self, run: Run, known: Started) -> None:
        expected = {"cancelled": ("CANCELLED",), "either": ("CANCELLED", "COMPLETED"), "": ("COMPLETED",)}[known.end]
        assert run.status in expected, f"exec_{run.pk} is {run.status} ({run.end_reason}), not {expected}: {known}"
        notes = Task.objects.filter(workspace=self.workspace, message=f"exec_{run.pk}").count()
        assert notes == (run.status == "COMPLETED"), f"exec_{run.pk} is {run.status} and did its step {notes} times"

    def _no_finding(self) -> None:
        found = examine(workspace_id=self.workspace.pk)
        assert found == [], [(finding.check.id, finding.rows) for finding in found]
