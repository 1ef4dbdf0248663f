"""Executions in the published shape: lists, one with its log, pages (CONTRACTS 9, EXE-08 to 20, RUN-02 to 11, 25 to 27)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.clock import evaluation_now
from accounts.models import Customer, Workspace
from automations.models import EventContent, Run, StepLog
from tests.automations import LISTENING, TAGGING, WAITING, fresh, published, queue, started
from tests.factories import ApiClient, make_customer
from tests.worker.living import happen, pass_time, settle, the_run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]

ROW = {
    "id", "status", "triggeredBy", "triggeredAt", "completedAt", "stepsExecuted", "runStatus", "endReason", "automationId",
    "automationName", "version", "profileId", "subject", "currentStepId", "nextStepAt", "parkedOn", "mode", "error", "eventId",
    "recordedAt",
}  # fmt: skip
STEP = {
    "seq", "attempt", "stepId", "type", "action", "name", "status", "port", "startedAt", "endedAt", "durationMs", "iteration",
    "fallback", "input", "output", "error", "warnings", "delivery",
}  # fmt: skip
THREE = """steps:
  - {id: one, type: action, name: The first, action: add_tag, tag: a}
  - {id: two, type: condition, if: trigger.seats > 5, then: [{id: three, type: action, action: create_task, message: Look}]}
"""


def rows(api: ApiClient, automation, query: str = "") -> list[dict]:
    answer = api.get(f"/automations/{automation.public_id}/executions{query}")
    assert answer.status_code == 200, answer.content
    return answer.json()["executions"]


def one(api: ApiClient, run: Run) -> dict:
    return api.get(f"/executions/exec_{run.pk}").json()


class TestShape:
    def test_a_finished_run_has_every_field_of_the_published_page(self, api: ApiClient, workspace: Workspace) -> None:
        # EXE-08, EXE-10 to EXE-15
        automation = published(workspace, THREE, name="Receipt")
        customer = make_customer(workspace)
        event = happen(customer, payload={"seats": 9})
        settle()
        [row] = rows(api, automation)
        assert set(row) == ROW
        assert row["id"] == f"exec_{the_run(automation).pk}"
        assert (row["status"], row["runStatus"], row["endReason"]) == ("completed", "COMPLETED", "completed")
        assert (row["triggeredBy"], row["stepsExecuted"], row["version"]) == ("sign", 3, 1)
        assert row["triggeredAt"].endswith("Z")
        assert row["completedAt"] >= row["triggeredAt"]
        assert (row["automationId"], row["automationName"]) == (automation.public_id, "Receipt")
        assert (row["profileId"], row["subject"]) == (customer.public_id, {"customer": customer.public_id})
        assert (row["eventId"], row["mode"], row["error"]) == (f"evt_{event}", "live", None)

    def test_a_run_in_a_delay(self, api: ApiClient, workspace: Workspace) -> None:
        # RUN-02 to RUN-07
        automation = published(workspace, WAITING)
        [run] = started(automation)
        row = one(api, run)
        assert (row["status"], row["runStatus"], row["currentStepId"], row["parkedOn"]) == (
            "running",
            "RUNNING",
            "pause",
            "timer",
        )
        assert row["nextStepAt"] > row["triggeredAt"]
        assert row["completedAt"] is None

    def test_a_run_waiting_for_an_event(self, api: ApiClient, workspace: Workspace) -> None:
        # EXE-17, RUN-08
        [run] = started(published(workspace, LISTENING))
        row = one(api, run)
        assert (row["status"], row["runStatus"], row["parkedOn"]) == ("running", "WAITING_FOR_EVENT", "event")

    def test_a_failed_run_says_why(self, api: ApiClient, workspace: Workspace) -> None:
        # RUN-11, EXE-21
        [run] = started(
            published(workspace, "steps: [{id: t, type: action, action: add_tag, tag: '{{trigger.none}}'}]")
        )
        row = one(api, run)
        assert (row["status"], row["endReason"]) == ("failed", "failed")
        assert set(row["error"]) >= {"code", "message"}
        [step] = row["steps"]
        assert (step["status"], step["error"]["code"], step["port"]) == ("failed", "invalid", None)
        assert [warning["code"] for warning in step["warnings"]] == ["missing_value"]

    def test_one_has_its_trigger_and_its_log(self, api: ApiClient, workspace: Workspace) -> None:
        # EXE-20, EXE-04, RUN-25
        automation = published(workspace, THREE)
        happen(make_customer(workspace), payload={"seats": 9})
        settle()
        row = one(api, the_run(automation))
        assert set(row) == ROW | {"trigger", "cause", "goalReachedAt", "steps", "stepsCursor"}
        assert row["trigger"] == {"type": "event", "event": "sign", "data": {"seats": 9}}
        assert (row["cause"], row["stepsCursor"]) == (None, None)
        assert [set(step) for step in row["steps"]] == [STEP] * 3
        first, second, third = row["steps"]
        assert (first["stepId"], first["type"], first["action"], first["name"]) == (
            "one",
            "action",
            "add_tag",
            "The first",
        )
        assert (first["output"], first["port"]) == ({"tag": "a", "added": True}, "next")
        assert (second["type"], second["action"], second["port"]) == ("condition", None, "true")
        assert second["output"]["result"] is True
        assert (third["seq"], third["stepId"], third["durationMs"]) == (3, "three", 0)

    def test_a_delivery_is_named_at_its_step(self, api: ApiClient, workspace: Workspace) -> None:
        [run] = started(published(workspace, TAGGING))
        delivery = queue(run, visit=1)
        assert one(api, run)["steps"][0]["delivery"] == f"dlv_{delivery.pk}"

    def test_a_late_outcome_is_marked(self, api: ApiClient, workspace: Workspace) -> None:
        # CONTRACTS 9: a later outcome is a row with late: true
        [run] = started(published(workspace, TAGGING))
        StepLog.objects.filter(run_id=run.pk).update(flags=2)
        assert one(api, run)["steps"][0]["late"] is True

    def test_the_cause_is_the_run_that_brought_it_about(
        self, api: ApiClient, workspace: Workspace, customer: Customer
    ) -> None:
        target = published(workspace, TAGGING, trigger="{type: manual}", more="key: next")
        first = published(workspace, "steps: [{type: action, action: start_automation, automation: next}]")
        happen(customer)
        settle()
        assert one(api, the_run(target))["cause"] == f"exec_{the_run(first).pk}"

    def test_trigger_data_does_not_change_later(self, api: ApiClient, workspace: Workspace, customer: Customer) -> None:
        # TRG-51, EXE-03
        automation = published(workspace, TAGGING)
        happen(customer, payload={"plan": "team"})
        settle()
        Customer.objects.filter(pk=customer.pk).update(name="Renamed")
        assert one(api, the_run(automation))["trigger"]["data"] == {"plan": "team"}

    def test_dropped_content_is_null(self, api: ApiClient, workspace: Workspace) -> None:
        [run] = started(published(workspace, TAGGING))
        EventContent.objects.filter(event_id=run.event_id).delete()
        assert one(api, run)["trigger"]["data"] is None


class TestFilters:
    @pytest.mark.parametrize("spelling", ["failed", "FAILED", "Failed"])
    def test_only_failed_ones_and_at_most_a_page(self, api: ApiClient, workspace: Workspace, spelling: str) -> None:
        # EXE-18: 60 runs, filtered by failed, a page size of 25
        automation = published(workspace, TAGGING)
        runs = started(automation, 60)
        failed = [run.pk for run in sorted(runs[::2], key=lambda run: run.event_id)]
        Run.objects.filter(pk__in=failed).update(status="FAILED", end_reason="failed")
        first = api.get(f"/automations/{automation.public_id}/executions?status={spelling}").json()
        assert len(first["executions"]) == 25
        second = api.get(
            f"/automations/{automation.public_id}/executions?status={spelling}&cursor={first['nextCursor']}"
        ).json()
        assert (len(second["executions"]), second["nextCursor"]) == (5, None)
        found = [row["id"] for row in first["executions"] + second["executions"]]
        assert found == [f"exec_{pk}" for pk in reversed(failed)]

    @pytest.mark.parametrize(
        ("spelling", "expected"),
        [("running", 2), ("RUNNING", 1), ("waiting", 1), ("success", 1), ("completed", 1), ("cancelled", 0)],
    )
    def test_statuses_in_all_spellings(
        self, api: ApiClient, workspace: Workspace, spelling: str, expected: int
    ) -> None:
        # C-02
        for number, body in enumerate((WAITING, LISTENING, TAGGING)):
            started(published(workspace, body, trigger=f"{{type: event, event: e{number}}}"), event=f"e{number}")
        assert len(api.get(f"/executions?status={spelling}").json()["executions"]) == expected

    def test_by_customer_step_and_time(self, api: ApiClient, workspace: Workspace) -> None:
        automation = published(workspace, WAITING)
        old, new = started(automation, 2)
        Run.objects.filter(pk=old.pk).update(started_at=evaluation_now() - timedelta(days=3))
        cut = (evaluation_now() - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        assert [row["id"] for row in rows(api, automation, f"?from={cut}")] == [f"exec_{new.pk}"]
        assert [row["id"] for row in rows(api, automation, f"?to={cut}")] == [f"exec_{old.pk}"]
        assert [row["id"] for row in rows(api, automation, f"?customer=cus_{new.customer_id}")] == [f"exec_{new.pk}"]
        assert len(rows(api, automation, "?step=pause")) == 2
        assert rows(api, automation, "?step=after") == []

    @pytest.mark.parametrize(
        ("query", "status", "code"),
        [
            ("status=lost", 422, "invalid"),
            ("from=yesterday", 422, "invalid"),
            ("to=2026-13-99T00:00:00Z", 422, "invalid"),
            ("customer=x", 404, "not_found"),
            ("limit=0", 422, "invalid"),
            ("limit=101", 422, "invalid"),
            ("limit=x", 422, "invalid"),
            ("cursor=nonsense", 422, "invalid"),
            ("cursor=%ff", 422, "invalid"),
            ("statu=failed", 422, "unknown_key"),
        ],
    )
    def test_a_wrong_query_is_one_clear_error(
        self, api: ApiClient, workspace: Workspace, query: str, status: int, code: str
    ) -> None:
        automation = published(workspace)
        for address in ("/executions", f"/automations/{automation.public_id}/executions"):
            answer = api.get(f"{address}?{query}")
            assert (answer.status_code, answer.json()["code"]) == (status, code), answer.content

    def test_runs_of_two_automations_stand_together_newest_first(self, api: ApiClient, workspace: Workspace) -> None:
        # EXE-01
        first = published(workspace, TAGGING, trigger="{type: event, event: one}")
        second = published(workspace, TAGGING, trigger="{type: event, event: two}")
        [a], [b] = started(first, event="one"), started(second, event="two")
        assert [row["id"] for row in api.get("/executions").json()["executions"]] == [f"exec_{b.pk}", f"exec_{a.pk}"]
        found = api.get(f"/executions?automation={first.public_id}").json()["executions"]
        assert [row["id"] for row in found] == [f"exec_{a.pk}"]


class TestPages:
    def test_every_run_comes_once_whatever_the_page(self, api: ApiClient, workspace: Workspace) -> None:
        automation = published(workspace, TAGGING)
        expected = {f"exec_{run.pk}" for run in started(automation, 11)}
        for address in ("/executions", f"/automations/{automation.public_id}/executions"):
            seen, cursor = [], ""
            while True:
                page = api.get(f"{address}?limit=3{cursor}").json()
                seen += [row["id"] for row in page["executions"]]
                if page["nextCursor"] is None:
                    break
                cursor = f"&cursor={page['nextCursor']}"
            assert len(seen) == 11
            assert set(seen) == expected

    def test_a_new_run_moves_no_page(self, api: ApiClient, workspace: Workspace) -> None:
        automation = published(workspace, TAGGING)
        runs = started(automation, 4)
        page = api.get(f"/automations/{automation.public_id}/executions?limit=2").json()
        started(automation, 2)
        rest = api.get(f"/automations/{automation.public_id}/executions?limit=2&cursor={page['nextCursor']}").json()
        assert [row["id"] for row in rest["executions"]] == [f"exec_{run.pk}" for run in reversed(runs[:2])]

    def test_a_long_log_comes_in_pages_of_two_hundred(self, api: ApiClient, workspace: Workspace) -> None:
        # CONTRACTS 9: at most 200 and a cursor for the rest
        [run] = started(published(workspace, TAGGING))
        now = evaluation_now()
        StepLog.objects.filter(run_id=run.pk).delete()
        StepLog.objects.bulk_create(
            StepLog(
                run_id=run.pk, seq=1 + number // 2, attempt=number % 2, recorded_at=now, workspace_id=workspace.pk, step="tag",
                type="add_tag", status="succeeded", port="next", started_at=now, ended_at=now,
            )
            for number in range(450)
        )  # fmt: skip
        shown = one(api, run)
        seen = [(step["seq"], step["attempt"]) for step in shown["steps"]]
        assert len(seen) == 200
        cursor = shown["stepsCursor"]
        while cursor:
            page = api.get(f"/executions/exec_{run.pk}/steps?cursor={cursor}").json()
            seen += [(step["seq"], step["attempt"]) for step in page["steps"]]
            cursor = page["nextCursor"]
        assert seen == [(1 + number // 2, 1 + number % 2) for number in range(450)]


@pytest.mark.parametrize("what", ["executions", "automation", "automations", "versions", "steps", "priorities"])
def test_lists_take_the_same_queries_for_one_row_and_for_twenty(
    api: ApiClient, workspace: Workspace, what: str
) -> None:
    # no query in a loop
    automation = published(workspace, WAITING)
    counts = []
    for number in (1, 19):
        address = _grown(workspace, automation, what, number)
        api.get(address)
        with CaptureQueriesContext(connection) as queries:
            answer = api.get(address)
        assert answer.status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1], counts
    assert counts[0] <= 16


def _grown(workspace: Workspace, automation, what: str, number: int) -> str:
    """Add rows of what is listed; answers the list's address."""
    from automations.services.drafts import save_draft
    from automations.services.publish import activate
    from tests.automations import made, text
    from tests.factories import actor_of

    here = f"/automations/{automation.public_id}"
    if what in ("executions", "automation"):
        started(automation, number)
        return "/executions" if what == "executions" else f"{here}/executions"
    if what == "automations":
        for _ in range(number):
            made(workspace)
        return "/automations"
    if what == "versions":
        for _ in range(number):
            save_draft(actor=actor_of(workspace), automation_id=automation.pk, body=text(), fmt="yaml")
            activate(actor=actor_of(workspace), automation_id=automation.pk)
        return f"{here}/versions"
    if what == "priorities":
        for _ in range(number):
            made(workspace, "steps: []", trigger="{type: event, event: billing.invoice_overdue}")
        return "/priorities/billing.invoice_overdue"
    body = "steps: [" + ", ".join(f"{{type: action, action: add_tag, tag: t{index}}}" for index in range(number)) + "]"
    [run] = started(
        published(workspace, body, trigger=f"{{type: event, event: steps{number}}}"), event=f"steps{number}"
    )
    return f"/executions/exec_{run.pk}/steps"


def test_a_run_that_went_on_is_shown_as_it_is_now(api: ApiClient, workspace: Workspace) -> None:
    automation = published(workspace, WAITING)
    [run] = started(automation)
    pass_time("+3d")
    row = one(api, run)
    assert (row["status"], row["stepsExecuted"], row["nextStepAt"]) == ("completed", 2, None)
    assert fresh(run).ended_at is not None
