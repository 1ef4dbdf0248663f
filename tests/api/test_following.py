"""With an `Idempotency-Key` the change and its stored answer are one transaction; the long work behind it is not (CONTRACTS 1, PAU-05,
DESIGN 5.1 and 5.5). And a transaction that was broken off for another's sake is made again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from accounts import afterwards as following
from accounts.api import customers as customers_api
from accounts.models import Audit, Customer, Idempotency, Workspace
from accounts.repeating import TRIES, counted
from accounts.services import lifecycle
from automations.api import operations
from automations.models import Automation, Event, Run
from automations.services import inflight, pause, publish
from automations.services.drafts import save_draft
from automations.worker.locks import lock_exclusively, try_lock_shared
from tests.automations import WAITING, fresh, made, published, started, text
from tests.billing.helpers import make_invoice
from tests.factories import ApiClient, actor_of, make_customer
from tests.worker.living import settle
from tests.worker.racing import Racer

pytestmark = pytest.mark.django_db(transaction=True)
RUNS = 8
CREATED = "{type: event, event: customer.created}"
BREAK_OFF = "do $$ begin raise exception 'broken off' using errcode = '%s'; end $$"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows follow two at a time, so that a few make a long work."""
    real = inflight.follow
    monkeypatch.setattr(inflight, "follow", lambda automation_id, limit=2: real(automation_id, 2))


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Automation], Any]], list[Any]]:
    """Have something asked on another connection before each chunk; the list fills with the answers."""

    def install(ask: Callable[[Automation], Any]) -> list[Any]:
        real, answers = inflight.follow, list[Any]()

        def watched(automation_id: int, limit: int = 2) -> int:
            automation = Automation(pk=automation_id)
            answers.append(Racer(lambda: ask(automation)).result())
            return real(automation_id, limit)

        monkeypatch.setattr(inflight, "follow", watched)
        return answers

    return install


def routers_may_start(automation: Automation) -> bool:
    """Whether another router gets its lock on the automation at this moment."""
    with transaction.atomic():
        return try_lock_shared([automation.pk]) == {automation.pk}


def is_committed(automation: Automation) -> bool:
    return Automation.objects.get(pk=automation.pk).state == "PAUSED" and Idempotency.objects.count() == 1


def act(api: ApiClient, automation: Automation, name: str, body: Any, key: str = "k") -> Any:
    headers = {"HTTP_IDEMPOTENCY_KEY": key} if key else {}
    return api.post(f"/automations/{automation.public_id}/{name}", body, **headers)


def edited(workspace: Workspace) -> Automation:
    """An automation with runs in flight, and a draft to be activated."""
    automation = published(workspace, WAITING)
    started(automation, RUNS)
    publish.restore_version(actor=actor_of(workspace), automation_id=automation.pk, number=1)
    return automation


class TestLocksOfTheLongWork:
    """While thousands of rows follow, routers go on with that automation."""

    @pytest.mark.parametrize("key", ["k", ""])
    def test_a_pause_lets_routers_go_on(self, api: ApiClient, workspace: Workspace, between: Any, key: str) -> None:
        automation = published(workspace, WAITING)
        started(automation, RUNS)
        answers = between(routers_may_start)
        answer = act(api, automation, "pause", {"inFlight": "cancel"}, key)
        assert (answer.status_code, answer.json()["runs"]) == (200, {"unfinished": 0, "cancelled": RUNS, "held": 0})
        assert answers == [True] * (RUNS // 2 + 1)
        assert {run.status for run in Run.objects.all()} == {"CANCELLED"}

    def test_inside_the_transaction_it_kept_them_waiting(
        self, api: ApiClient, workspace: Workspace, between: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        automation = published(workspace, WAITING)
        started(automation, RUNS)
        monkeypatch.setattr(pause, "afterwards", lambda work: work())
        answers = between(routers_may_start)
        act(api, automation, "pause", {"inFlight": "cancel"})
        assert answers == [False] * (RUNS // 2 + 1)

    def test_the_change_and_its_answer_are_committed_before(
        self, api: ApiClient, workspace: Workspace, between: Any
    ) -> None:
        automation = published(workspace, WAITING)
        started(automation, RUNS)
        answers = between(is_committed)
        act(api, automation, "pause", {"inFlight": "hold"})
        assert answers
        assert all(answers)
        assert {run.parked_on for run in Run.objects.all()} == {"hold"}

    def test_a_resume_lets_routers_go_on(self, api: ApiClient, workspace: Workspace, between: Any) -> None:
        automation = published(workspace, WAITING)
        started(automation, RUNS)
        act(api, automation, "pause", {"inFlight": "hold"})
        answers = between(routers_may_start)
        answer = act(api, automation, "resume", {"held": "continue"}, "r")
        assert (answer.status_code, answer.json()["runs"]["unfinished"]) == (200, RUNS)
        assert answers == [True] * (RUNS // 2 + 1)
        assert {run.parked_on for run in Run.objects.all()} == {"timer"}

    def test_an_activation_that_cancels_lets_routers_go_on(
        self, api: ApiClient, workspace: Workspace, between: Any
    ) -> None:
        automation = edited(workspace)
        answers = between(routers_may_start)
        assert act(api, automation, "activate", {"runs": "cancel"}).status_code == 200
        assert answers == [True] * (RUNS // 2 + 1)
        assert {run.end_reason for run in Run.objects.all()} == {"cancelled_on_publish"}

    def test_an_activation_that_enrols_lets_routers_go_on(
        self, api: ApiClient, workspace: Workspace, between: Any
    ) -> None:
        for _ in range(RUNS):
            make_customer(workspace)
        settle()
        automation = made(workspace, WAITING, trigger=CREATED)
        answers = between(routers_may_start)
        assert act(api, automation, "activate", {"enrolExisting": True}).status_code == 200
        assert answers == [True] * (RUNS // 2 + 1)
        settle()
        assert Run.objects.filter(automation=automation).count() == RUNS

    def test_a_person_who_changes_the_automation_waits_for_a_chunk_at_most(
        self, api: ApiClient, workspace: Workspace, between: Any
    ) -> None:
        def change(automation: Automation) -> bool:
            with transaction.atomic():
                lock_exclusively([automation.pk])
                return Automation.objects.select_for_update(no_key=True, nowait=True).filter(pk=automation.pk).exists()

        automation = published(workspace, WAITING)
        started(automation, RUNS)
        answers = between(change)
        act(api, automation, "pause", {"inFlight": "cancel"})
        assert answers == [True] * (RUNS // 2 + 1)


class TestDeathBehindTheCommit:
    """The process dies when the change is committed and its rows have only begun to follow."""

    @pytest.fixture
    def dying(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
        """When four rows have followed the process is gone; called, a new one has started."""
        real, chunks = inflight.follow, list[int]()

        def die(automation_id: int, limit: int = 2) -> int:
            if sum(chunks) == 4:
                raise SystemExit
            chunks.append(real(automation_id, limit))
            return chunks[-1]

        monkeypatch.setattr(inflight, "follow", die)
        return lambda: monkeypatch.setattr(inflight, "follow", real)

    def test_the_workers_finish_a_pause(self, api: ApiClient, workspace: Workspace, dying: Callable[[], None]) -> None:
        automation = published(workspace, WAITING)
        started(automation, RUNS)
        with pytest.raises(SystemExit):
            act(api, automation, "pause", {"inFlight": "cancel"})
        assert Run.objects.filter(ended_at=None).count() == RUNS - 4
        dying()
        again = act(api, automation, "pause", {"inFlight": "cancel"})
        assert again.has_header("Idempotent-Replayed")
        assert again.json()["runs"] == {"unfinished": 0, "cancelled": RUNS, "held": 0}
        assert Run.objects.filter(ended_at=None).count() == RUNS - 4, "a replay does nothing"
        settle()
        assert {(run.status, run.end_reason) for run in Run.objects.all()} == {("CANCELLED", "cancelled_on_pause")}
        assert (fresh(automation).sweep, fresh(automation).cancel_mark) == (False, None)

    def test_the_workers_finish_an_enrolment_and_enrol_nobody_twice(
        self, api: ApiClient, workspace: Workspace, dying: Callable[[], None]
    ) -> None:
        people = [make_customer(workspace).pk for _ in range(RUNS)]
        settle()
        automation = made(workspace, WAITING, trigger=CREATED)
        with pytest.raises(SystemExit):
            act(api, automation, "activate", {"enrolExisting": True})
        assert Event.objects.filter(only_automation=automation.pk).count() == 4
        assert fresh(automation).enrol_after == people[3]
        dying()
        settle()
        assert sorted(run.customer_id for run in Run.objects.filter(automation=automation)) == people
        assert (fresh(automation).sweep, fresh(automation).enrol_after) == (False, None)

    def test_what_fails_behind_the_commit_is_logged_and_left_to_them(
        self, api: ApiClient, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: Any
    ) -> None:
        automation = published(workspace, WAITING)
        started(automation, RUNS)
        with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
            patch.setattr(inflight, "end_runs", lambda *args, **more: 1 / 0)
            assert act(api, automation, "pause", {"inFlight": "cancel"}).status_code == 200
        assert "left to the workers" in caplog.text
        settle()
        assert {run.status for run in Run.objects.all()} == {"CANCELLED"}


class TestEnrolments:
    """How far an enrolment has come is a mark of the automation (DESIGN 5.1, enrolExisting)."""

    def enrolling(self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Automation:
        """An enrolment of which nothing was done yet."""
        for _ in range(RUNS):
            make_customer(workspace)
        settle()
        automation = made(workspace, WAITING, trigger=CREATED)
        with monkeypatch.context() as patch:
            patch.setattr(publish, "follow_all", lambda automation_id: None)
            self.activate(automation, enrol_existing=True)
        assert (fresh(automation).enrol_after, fresh(automation).sweep) == (0, True)
        return automation

    def activate(self, automation: Automation, **choices: Any) -> None:
        publish.activate(actor=actor_of(automation.workspace), automation_id=automation.pk, **choices)

    def test_a_pause_ends_it_and_asked_for_again_it_goes_on(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        automation, actor = self.enrolling(workspace, monkeypatch), actor_of(workspace)
        inflight.follow(automation.pk)
        assert Event.objects.filter(only_automation=automation.pk).count() == 2
        pause.pause_automation(actor=actor, automation_id=automation.pk)
        assert fresh(automation).enrol_after is None
        pause.resume_automation(actor=actor, automation_id=automation.pk)
        settle()
        assert Event.objects.filter(only_automation=automation.pk).count() == 2
        self.activate(automation, enrol_existing=True)
        settle()
        assert Run.objects.filter(automation=automation).count() == RUNS

    @pytest.mark.parametrize(("trigger", "left"), [(CREATED, RUNS), ("{type: event, event: invoice.issued}", 0)])
    def test_another_version_goes_on_with_it_unless_it_is_about_other_records(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, trigger: str, left: int
    ) -> None:
        automation = self.enrolling(workspace, monkeypatch)
        body = text(WAITING, trigger=trigger)
        save_draft(actor=actor_of(workspace), automation_id=automation.pk, body=body, fmt="yaml")
        self.activate(automation)
        settle()
        assert Run.objects.filter(automation=automation).count() == left
        assert fresh(automation).enrol_after is None

    def test_a_record_that_belongs_to_somebody_else_since_is_passed_over(self, workspace: Workspace) -> None:
        invoice = make_invoice(make_customer(workspace))
        settle()
        automation = made(workspace, WAITING, trigger="{type: event, event: invoice.issued}")
        self.activate(automation, enrol_existing=True)
        other = make_customer(workspace)
        lifecycle.merge_customers(actor=actor_of(workspace), source_id=invoice.customer_id, into_id=other.pk)
        self.activate(automation, enrol_existing=True)
        settle()
        assert Run.objects.filter(automation=automation).count() == 1
        assert (fresh(automation).sweep, fresh(automation).enrol_after) == (False, None)

    def test_it_is_audited_with_the_version(self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        automation = self.enrolling(workspace, monkeypatch)
        assert Audit.objects.get(object=automation.public_id, action="automation.enrol").after == {"version": 1}


def broken_off(times: int, state: str, real: Callable[..., Any]) -> Callable[..., Any]:
    """The service, of which so many calls are broken off by the server after they have written."""
    calls: list[int] = []

    def service(*args: Any, **named: Any) -> Any:
        calls.append(len(calls))
        with transaction.atomic():
            answer = real(*args, **named)
            if len(calls) <= times:
                with connection.cursor() as cursor:
                    cursor.execute(BREAK_OFF % state)
        return answer

    return service


class TestBrokenOff:
    """A deadlock or serialisation failure reaches a caller only when it comes again and again (DESIGN 5.2)."""

    @pytest.mark.parametrize("state", ["40P01", "40001"])
    def test_a_request_with_a_key_is_made_again(
        self, api: ApiClient, monkeypatch: pytest.MonkeyPatch, state: str
    ) -> None:
        monkeypatch.setattr(customers_api, "create_customer", broken_off(1, state, customers_api.create_customer))
        before = counted[state]
        answer = api.post("/customers", {"email": "a@x.test"}, HTTP_IDEMPOTENCY_KEY="k")
        assert (answer.status_code, counted[state] - before) == (201, 1)
        assert (Customer.objects.count(), Idempotency.objects.count()) == (1, 1)
        assert api.post("/customers", {"email": "a@x.test"}, HTTP_IDEMPOTENCY_KEY="k").content == answer.content

    @pytest.mark.parametrize(("state", "key"), [("40P01", "k"), ("40001", ""), ("40P01", ""), ("55P03", "")])
    def test_what_comes_again_and_again_is_said_clearly(
        self, api: ApiClient, monkeypatch: pytest.MonkeyPatch, state: str, key: str
    ) -> None:
        monkeypatch.setattr(customers_api, "create_customer", broken_off(TRIES, state, customers_api.create_customer))
        headers = {"HTTP_IDEMPOTENCY_KEY": key} if key else {}
        answer = api.post("/customers", {"email": "a@x.test"}, **headers)
        assert (answer.status_code, answer.json()["code"], answer["Retry-After"]) == (503, "unavailable", "5")
        assert "same records at this moment; send the request again" in answer.json()["message"]
        assert (Customer.objects.count(), Idempotency.objects.count()) == (0, 0)

    def test_merging_repeats_itself_without_a_key(
        self, api: ApiClient, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old, new = make_customer(workspace), make_customer(workspace)
        monkeypatch.setattr(lifecycle, "_merge", broken_off(1, "40P01", lifecycle._merge))
        answer = api.post(f"/customers/{old.public_id}/merge", {"into": new.public_id})
        assert (answer.status_code, answer.json()["id"]) == (200, new.public_id)
        assert Audit.objects.filter(action="customer.merge").count() == 1

    def test_work_that_a_broken_off_try_had_handed_over_is_not_done(
        self, api: ApiClient, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        done: list[int] = []
        automation = published(workspace, WAITING)
        monkeypatch.setattr(pause, "follow_all", done.append)
        monkeypatch.setattr(operations, "pause_automation", broken_off(1, "40P01", operations.pause_automation))
        assert act(api, automation, "pause", {"inFlight": "cancel"}).status_code == 200
        assert done == [automation.pk]

    def test_a_refused_request_has_nothing_to_follow(self, api: ApiClient, workspace: Workspace) -> None:
        done: list[str] = []

        def refuse(*args: Any, **named: Any) -> Any:
            following.afterwards(lambda: done.append("followed"))
            raise customers_api.Refusal("wrong_state", "Not now.")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(customers_api, "create_customer", refuse)
            assert api.post("/customers", {"email": "a@x.test"}, HTTP_IDEMPOTENCY_KEY="k").status_code == 409
        following.afterwards(lambda: done.append("at once"))
        assert done == ["at once"]
