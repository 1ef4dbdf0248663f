"""Activating, pausing, triggering, testing, priorities and the catalogue over REST (CONTRACTS 8, EXE-19)."""

from __future__ import annotations

import pytest

from accounts.models import Workspace
from automations.models import Delivery, Event, Run
from tests.automations import LISTENING, TAGGING, WAITING, fresh, made, published, queue, started, text
from tests.factories import ApiClient, make_api_client, make_customer
from tests.worker.living import happen, settle

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]

OVERDUE = "billing.invoice_overdue"
TASK = "steps: [{type: action, action: create_task, message: Look}]"


def path(automation, act: str = "") -> str:
    return f"/automations/{automation.public_id}{'/' + act if act else ''}"


def test_nine_operations_with_only_a_key(api: ApiClient, workspace: Workspace) -> None:
    # EXE-19: create, read, update, validate, activate, pause, resume, test and trigger
    made_ = api.post("/automations", text(TAGGING, trigger="{type: manual}"), content_type="application/yaml")
    here = f"/automations/{made_.json()['id']}"
    customer = make_customer(workspace)
    answers = [
        made_,
        api.get(here),
        api.put(f"{here}/draft", text(TAGGING, trigger="{type: manual}"), content_type="application/yaml"),
        api.post(f"{here}/validate"),
        api.post(f"{here}/activate"),
        api.post(f"{here}/pause"),
        api.post(f"{here}/resume"),
        api.post(f"{here}/test"),
        api.post(f"{here}/trigger", {"customer": customer.public_id}),
    ]
    assert [answer.status_code for answer in answers] == [201, 200, 200, 200, 200, 200, 200, 200, 201]
    assert [answers[4].json()["state"], answers[5].json()["automation"]["state"]] == ["ACTIVE", "PAUSED"]
    assert answers[6].json()["automation"]["state"] == "ACTIVE"


class TestActivate:
    def test_errors_come_with_all_problems(self, api: ApiClient, workspace: Workspace) -> None:
        automation = made(workspace, "steps: [{type: delay, duration: 3x}, {type: delay, duration: 0s}]")
        answer = api.post(path(automation, "activate"))
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_definition")
        assert {problem["code"] for problem in answer.json()["details"]["problems"]} >= {"bad_duration", "wait_zero"}

    def test_a_preview_changes_nothing(self, api: ApiClient, workspace: Workspace) -> None:
        automation = published(workspace, WAITING)
        started(automation)
        api.put(path(automation, "draft"), text(TAGGING), content_type="application/yaml")
        answer = api.post(path(automation, "activate"), {"preview": True})
        assert answer.json() == {"problems": [], "runsByStep": {"pause": 1}, "wouldEnrol": 1}
        assert api.get(path(automation)).json()["activeVersion"] == 1

    def test_if_match_guards_what_is_activated(self, api: ApiClient, workspace: Workspace) -> None:
        automation = made(workspace)
        api.put(path(automation, "draft"), text(WAITING), content_type="application/yaml")
        answer = api.post(path(automation, "activate"), headers={"If-Match": '"1"'})
        assert (answer.status_code, answer.json()["code"]) == (409, "draft_conflict")

    def test_runs_can_be_cancelled(self, api: ApiClient, workspace: Workspace) -> None:
        automation = published(workspace, WAITING)
        [run] = started(automation)
        api.put(path(automation, "draft"), text(WAITING), content_type="application/yaml")
        assert api.post(path(automation, "activate"), {"runs": "cancel"}).json()["runs"] == {"unfinished": 0}
        assert fresh(run).end_reason == "cancelled_on_publish"

    @pytest.mark.parametrize("body", [{"runs": "explode"}, {"runs": "move"}, {"preview": "perhaps"}, {"run": "stay"}])
    def test_a_wrong_body_is_refused(self, api: ApiClient, workspace: Workspace, body: dict) -> None:
        automation = made(workspace)
        assert api.post(path(automation, "activate"), body).status_code == 422
        assert fresh(automation).state == "DRAFT"


class TestPause:
    def test_counts_of_each_choice(self, api: ApiClient, workspace: Workspace) -> None:
        # PAU-04, PAU-05, PAU-12
        automation = published(workspace, WAITING)
        started(automation, 2)
        held = api.post(path(automation, "pause"), {"inFlight": "hold"}).json()
        assert (held["automation"]["state"], held["runs"]) == ("PAUSED", {"unfinished": 2, "cancelled": 0, "held": 2})
        refused = api.post(path(automation, "resume"))
        assert (refused.status_code, refused.json()["code"]) == (409, "choice_required")
        resumed = api.post(path(automation, "resume"), {"held": "continue"}).json()
        assert (resumed["automation"]["state"], resumed["runs"]["unfinished"]) == ("ACTIVE", 2)
        cancelled = api.post(path(automation, "pause"), {"inFlight": "cancel"}).json()
        assert cancelled["runs"] == {"unfinished": 0, "cancelled": 2, "held": 0}

    def test_times_are_shown(self, api: ApiClient, workspace: Workspace) -> None:
        automation = published(workspace)
        assert api.post(path(automation, "pause")).json()["automation"]["pausedAt"].endswith("Z")
        assert api.post(path(automation, "resume")).json()["automation"]["pausedAt"] is None

    def test_a_draft_cannot_be_paused(self, api: ApiClient, workspace: Workspace) -> None:
        automation = made(workspace)
        for act in ("pause", "resume"):
            answer = api.post(path(automation, act))
            assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")

    @pytest.mark.parametrize(
        ("act", "body"), [("pause", {"inFlight": "burn"}), ("resume", {"held": "x"}), ("pause", {"inflight": "hold"})]
    )
    def test_a_wrong_choice_is_refused(self, api: ApiClient, workspace: Workspace, act: str, body: dict) -> None:
        automation = published(workspace)
        assert api.post(path(automation, act), body).status_code == 422
        assert fresh(automation).state == "ACTIVE"


class TestTrigger:
    def test_the_run_exists_when_it_answers(self, api: ApiClient, workspace: Workspace) -> None:
        # DEF-22, C-26, TRG-03
        automation = published(workspace, WAITING, trigger="{type: manual}")
        customer = make_customer(workspace)
        answer = api.post(path(automation, "trigger"), {"customer": customer.public_id, "payload": {"why": "asked"}})
        assert answer.status_code == 201
        shown = answer.json()["execution"]
        assert (shown["triggeredBy"], shown["status"], shown["profileId"]) == ("manual", "running", customer.public_id)
        assert shown["trigger"]["data"] == {"why": "asked"}
        assert api.get(f"/executions/{shown['id']}").status_code == 200

    @pytest.mark.parametrize("form", ["id", "email", "externalId"])
    def test_a_customer_is_named_in_any_way(self, api: ApiClient, workspace: Workspace, form: str) -> None:
        automation = published(workspace, TAGGING, trigger="{type: manual}")
        customer = make_customer(workspace, external_id="A-17")
        named = {"id": customer.public_id, "email": {"email": customer.email}, "externalId": {"externalId": "A-17"}}[
            form
        ]
        answer = api.post(path(automation, "trigger"), {"customer": named})
        assert answer.json()["execution"]["profileId"] == customer.public_id

    def test_the_same_key_starts_one_run(self, api: ApiClient, workspace: Workspace) -> None:
        automation = published(workspace, TAGGING, trigger="{type: manual}")
        body = {"customer": make_customer(workspace).public_id}
        ids = {
            api.post(path(automation, "trigger"), body, headers={"Idempotency-Key": "once"}).json()["execution"]["id"]
            for _ in range(2)
        }
        assert len(ids) == Run.objects.count() == 1

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            ({"customer": "cus_999999"}, 422, "unknown_reference"),
            ({"customer": {"email": "nobody@example.com"}}, 422, "unknown_reference"),
            ({"customer": "x"}, 422, "invalid"),
            ({"customer": {"name": "x"}}, 422, "unknown_key"),
            ({"cutsomer": "cus_1"}, 422, "unknown_key"),
            ({"payload": []}, 422, "invalid"),
        ],
    )
    def test_what_is_not_there_is_said(
        self, api: ApiClient, workspace: Workspace, body: dict, status: int, code: str
    ) -> None:
        automation = published(workspace, TAGGING, trigger="{type: manual}")
        answer = api.post(path(automation, "trigger"), body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert not Run.objects.exists()

    def test_a_gate_that_stops_it_is_named(self, api: ApiClient, workspace: Workspace) -> None:
        # CONTRACTS 8: 409 not_entered (gate in details)
        automation = published(workspace, "filter: customer.segment == 'vip'\n" + TAGGING, trigger="{type: manual}")
        answer = api.post(path(automation, "trigger"), {"customer": make_customer(workspace).public_id})
        assert (answer.status_code, answer.json()["code"], answer.json()["details"]["gate"]) == (
            409,
            "not_entered",
            "filter",
        )
        assert not Event.objects.filter(source="manual").exists()

    def test_only_a_manual_trigger_that_is_active(self, api: ApiClient, workspace: Workspace) -> None:
        body = {"customer": make_customer(workspace).public_id}
        event, draft = published(workspace), made(workspace, trigger="{type: manual}")
        assert api.post(path(event, "trigger"), body).json()["code"] == "trigger_not_manual"
        assert api.post(path(draft, "trigger"), body).json()["code"] == "wrong_state"


class TestTesting:
    def test_the_log_of_a_walk_that_did_not_happen(self, api: ApiClient, workspace: Workspace) -> None:
        # VER-10
        automation = made(workspace, WAITING)
        answer = api.post(path(automation, "test")).json()
        assert (answer["status"], answer["endReason"]) == ("completed", "completed")
        assert [(step["stepId"], step["type"], step["status"]) for step in answer["steps"]] == [
            ("pause", "delay", "succeeded"),
            ("after", "action", "succeeded"),
        ]
        assert set(answer["steps"][0]) >= {"seq", "startedAt", "endedAt", "input", "output", "rendered", "warnings"}
        assert not Run.objects.exists()
        assert not Delivery.objects.exists()

    def test_all_that_can_be_given(self, api: ApiClient, workspace: Workspace) -> None:
        automation = made(workspace, LISTENING)
        event = happen(make_customer(workspace))
        settle()
        for body in (
            {"payload": {"x": 1.5}},
            {"event": f"evt_{event}"},
            {"customer": make_customer(workspace).public_id},
            {
                "at": "2026-01-01T00:00:00Z",
                "version": 1,
                "outcomes": {"tag": {}},
                "events": [{"after": "1d", "name": "reply"}],
            },
        ):
            assert api.post(path(automation, "test"), body).status_code == 200, body

    @pytest.mark.parametrize(
        "body",
        [
            {"payload": {}, "customer": "cus_1"},
            {"events": [{"after": "soon", "name": "x"}]},
            {"at": "yesterday"},
            {"outcomes": []},
            {"outcome": {}},
        ],
    )
    def test_what_makes_no_sense_is_refused(self, api: ApiClient, workspace: Workspace, body: dict) -> None:
        assert api.post(path(made(workspace), "test"), body).status_code == 422


class TestPriorities:
    def test_the_order_is_read_and_set(self, api: ApiClient, workspace: Workspace) -> None:
        # PRI-08, PRI-09
        rows = [published(workspace, TASK, trigger=f"{{type: event, event: {OVERDUE}}}") for _ in range(3)]
        ids = [row.public_id for row in rows]
        found = api.get(f"/priorities/{OVERDUE}").json()
        assert found["trigger"] == OVERDUE
        assert [(row["id"], row["priority"]) for row in found["automations"]] == list(zip(ids, (1, 2, 3), strict=True))
        changed = api.put(f"/priorities/{OVERDUE}", {"order": [ids[2], ids[0], ids[1]]}).json()
        assert [row["id"] for row in changed["automations"]] == [ids[2], ids[0], ids[1]]

    def test_half_an_order_is_refused(self, api: ApiClient, workspace: Workspace) -> None:
        row = published(workspace, TASK, trigger=f"{{type: event, event: {OVERDUE}}}")
        for order, status in (([], 422), ([row.public_id, row.public_id], 422), (["auto_999999"], 422), (["x"], 404)):
            assert api.put(f"/priorities/{OVERDUE}", {"order": order}).status_code == status
        assert api.get("/priorities/nonsense").status_code == 404
        assert api.get("/priorities/invoice.paid").status_code == 404

    def test_setting_it_needs_the_scope_to_publish(self, workspace: Workspace) -> None:
        client = make_api_client(workspace, ["read", "edit"])
        assert client.get(f"/priorities/{OVERDUE}").status_code == 200
        assert client.put(f"/priorities/{OVERDUE}", {"order": []}).status_code == 403


class TestCatalogue:
    def test_it_answers_with_a_tag_and_then_with_nothing(self, api: ApiClient) -> None:
        first = api.get("/catalogue")
        assert set(first.json()) == {
            "triggers",
            "steps",
            "actions",
            "variables",
            "operators",
            "filters",
            "queries",
            "events",
        }
        again = api.get("/catalogue", headers={"If-None-Match": first["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert api.get("/catalogue", headers={"If-None-Match": '"other"'}).status_code == 200

    def test_use_of_limits_stands_beside_them(self, api: ApiClient, workspace: Workspace) -> None:
        # LIM-14
        made(workspace)
        assert api.get("/limits").json()["usage"]["automations"]["global"] == 1


def test_cancelling_one_and_many(api: ApiClient, workspace: Workspace) -> None:
    # PAU-11
    automation = published(workspace, WAITING)
    first, second, third = started(automation, 3)
    mail = queue(first)
    one = api.post(f"/executions/exec_{first.pk}/cancel", {"reason": "asked"}).json()
    assert (one["status"], one["runStatus"], one["endReason"]) == ("cancelled", "CANCELLED", "cancelled")
    assert fresh(mail).state == "CANCELLED"
    wanted = {"filter": {"automation": automation.public_id, "status": "running"}}
    preview = api.post("/executions/cancel", {**wanted, "preview": True}).json()
    assert preview == {"runs": 2, "more": False, "byAutomation": {automation.public_id: 2}}
    refused = api.post("/executions/cancel", {**wanted, "confirm": 3})
    assert (refused.status_code, refused.json()["code"]) == (409, "choice_required")
    assert api.post("/executions/cancel", {**wanted, "confirm": 2}).json() == {"cancelled": 2}
    assert {fresh(run).status for run in (second, third)} == {"CANCELLED"}
