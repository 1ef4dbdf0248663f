"""Automations, drafts and versions over REST (CONTRACTS 8, EXE-19, DEF-01, VER-05)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from accounts.models import Workspace
from automations.models import Automation, Version
from automations.services.drafts import save_draft
from tests.automations import TAGGING, WAITING, made, published, started, text
from tests.factories import ApiClient, actor_of, make_api_client

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]

YAML = "application/yaml"
GRAPH: dict[str, Any] = {
    "version": 1,
    "key": "dunning",
    "name": "Dunning",
    "description": "After a failed payment",
    "trigger": {"type": "event", "event": "payment.failed"},
    "filter": "invoice.total >= 10",
    "exits": [{"event": "invoice.paid"}],
    "settings": {"reentry": "one_at_a_time"},
    "nodes": [
        {
            "id": "first",
            "type": "condition",
            "name": "First failure?",
            "config": {"if": "trigger.failureCount == 1"},
            "position": {"x": 0, "y": 0},
        },
        {
            "id": "tag",
            "type": "add_tag",
            "config": {"tag": "late"},
            "errorHandling": {"retries": 3, "retryDelay": "5m", "backoffMultiplier": 2},
        },
    ],
    "edges": [{"from": "trigger", "port": "next", "to": "first"}, {"from": "first", "port": "true", "to": "tag"}],
}


class TestCreate:
    def test_from_a_graph(self, api: ApiClient) -> None:
        # CONTRACTS 4: the body is a definition
        answer = api.post("/automations", GRAPH)
        assert answer.status_code == 201
        body = answer.json()
        assert set(body) == {
            "id", "key", "name", "description", "state", "trigger", "dispatch", "priority", "scope", "activeVersion", "draft",
            "runs", "pausedAt", "nextFireAt", "createdAt", "updatedAt", "links", "problems",
        }  # fmt: skip
        assert (body["key"], body["name"], body["state"], body["scope"]) == ("dunning", "Dunning", "DRAFT", "global")
        assert body["trigger"] == {"type": "event", "event": "payment.failed"}
        assert (body["activeVersion"], body["draft"], body["problems"]) == (
            None,
            {"number": 1, "revision": 1, "problems": 0},
            [],
        )
        assert body["links"] == {"canvas": f"/automations/{body['id']}/edit"}
        assert answer["ETag"] == '"1"'

    def test_reading_back_gives_the_same_graph(self, api: ApiClient) -> None:
        # DEF-01, DEF-19
        made_id = api.post("/automations", GRAPH).json()["id"]
        found = api.get(f"/automations/{made_id}/draft").json()["definition"]
        assert {key: found[key] for key in ("trigger", "nodes", "edges", "name", "key", "settings", "exits")} == {
            key: GRAPH[key] for key in ("trigger", "nodes", "edges", "name", "key", "settings", "exits")
        }
        assert list(found)[:3] == ["version", "key", "name"]

    def test_the_quick_start_is_taken_as_it_is(self, api: ApiClient) -> None:
        # DEF-20, DEF-09
        answer = api.post("/automations", Path("docs/samples/quick-start.yaml").read_text(), content_type=YAML)
        assert (answer.status_code, answer.json()["name"], answer.json()["state"]) == (
            201,
            "Payment Failed - Dunning Email",
            "DRAFT",
        )
        assert not [problem for problem in answer.json()["problems"] if problem["severity"] == "error"]

    @pytest.mark.parametrize(
        ("body", "kind", "status", "code"),
        [
            ("name: [", YAML, 400, "malformed"),
            ("{", "application/json", 400, "malformed"),
            ('{"name": "a", "name": "b"}', "application/json", 400, "duplicate_key"),
            ("name: a\nname: b\n", YAML, 400, "duplicate_key"),
            ("a: &x 1\nb: *x\n", YAML, 400, "alias_refused"),
            ("name: x\n", YAML, 422, "invalid_definition"),
            ("[]", "application/json", 422, "invalid_definition"),
            ("", "application/json", 400, "malformed"),
            ("name: x", "text/csv", 415, "media_type"),
            (
                '{"name": "x", "trigger": {"type": "manual"}, "colour": 1}',
                "application/json",
                422,
                "invalid_definition",
            ),
            ("name: " + "x" * 600_000, YAML, 413, "too_large"),
            (b"\xff\xfe\x00", YAML, 400, "malformed"),
        ],
    )
    def test_one_clear_error_and_nothing_written(
        self, api: ApiClient, body: Any, kind: str, status: int, code: str
    ) -> None:
        # issue: malformed YAML and JSON, alias bombs, huge payloads: never a 500
        answer = api.post("/automations", body, content_type=kind)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.content
        assert set(answer.json()) == {"code", "message", "details"}
        assert not Automation.objects.exists()

    def test_every_problem_names_its_place(self, api: ApiClient) -> None:
        # CONTRACTS 4, problem
        answer = api.post("/automations", text("steps:\n  - {id: a, type: delay, duration: 3x}\n"), content_type=YAML)
        [problem] = answer.json()["problems"]
        assert set(problem) == {"code", "severity", "step", "path", "pointer", "line", "message", "help"}
        assert (problem["code"], problem["step"], problem["path"], problem["line"]) == (
            "bad_duration",
            "a",
            "steps[0].duration",
            4,
        )
        assert problem["pointer"] == "/nodes/0/config/duration"

    def test_the_same_key_of_idempotency_makes_one(self, api: ApiClient) -> None:
        # CONTRACTS 1, idempotency
        first = api.post("/automations", GRAPH, headers={"Idempotency-Key": "k1"})
        second = api.post("/automations", GRAPH, headers={"Idempotency-Key": "k1"})
        assert first.json() == second.json()
        assert second["Idempotent-Replayed"] == "true"
        assert Automation.objects.count() == 1

    def test_a_plan_without_automations_refuses(self, api: ApiClient, workspace: Workspace) -> None:
        Workspace.objects.filter(pk=workspace.pk).update(plan="FREE")
        answer = api.post("/automations", GRAPH)
        assert (answer.status_code, answer.json()["code"]) == (403, "plan_limit")


class TestOne:
    def test_it_is_read_as_it_is_listed(self, api: ApiClient, workspace: Workspace) -> None:
        automation = published(workspace, name="Shown")
        body = api.get(f"/automations/{automation.public_id}").json()
        assert (body["activeVersion"], body["draft"], body["state"]) == (1, None, "ACTIVE")
        assert api.get("/automations").json() == {"automations": [body], "nextCursor": None}

    def test_it_says_how_many_runs_are_unfinished(self, api: ApiClient, workspace: Workspace) -> None:
        automation = published(workspace, WAITING)
        started(automation, 2)
        assert api.get(f"/automations/{automation.public_id}").json()["runs"] == {"unfinished": 2}

    def test_its_scope_is_shown_by_slugs(self, api: ApiClient, workspace: Workspace) -> None:
        # MIS-06, C-06
        funnel = api.get("/funnels").json()["funnels"][0]["slug"]
        automation = made(workspace, more=f"settings: {{scope: [{funnel}/TRIAL, {funnel}/CUSTOMER]}}")
        body = api.get(f"/automations/{automation.public_id}").json()
        assert body["scope"] == [f"{funnel}/TRIAL", f"{funnel}/CUSTOMER"]

    def test_patch_changes_name_description_and_priority_alone(self, api: ApiClient, workspace: Workspace) -> None:
        automation = made(workspace)
        path = f"/automations/{automation.public_id}"
        body = api.patch(path, {"name": "New", "description": "Why"}).json()
        assert (body["name"], body["description"]) == ("New", "Why")
        for wrong in ({"state": "ACTIVE"}, {"key": "x"}, {"workspace": 1}, {"activeVersion": 1}):
            answer = api.patch(path, wrong)
            assert (answer.status_code, answer.json()["code"]) == (422, "unknown_key")
        assert api.patch(path, {"priority": 1}).status_code == 422
        assert api.patch(path, {"name": ""}).json()["code"] == "invalid"

    def test_delete_until_it_had_runs(self, api: ApiClient, workspace: Workspace) -> None:
        automation, used = published(workspace), published(workspace, trigger="{type: event, event: other}")
        started(used, event="other")
        assert api.delete(f"/automations/{automation.public_id}").status_code == 204
        assert api.get(f"/automations/{automation.public_id}").status_code == 404
        answer = api.delete(f"/automations/{used.public_id}")
        assert (answer.status_code, answer.json()["code"]) == (409, "has_runs")

    def test_lists_are_filtered_and_paged(self, api: ApiClient, workspace: Workspace) -> None:
        for number in range(3):
            made(workspace, name=f"D{number}")
        active = published(workspace, trigger="{type: manual}", more="key: mine")
        ids = [row["id"] for row in api.get("/automations?state=ACTIVE").json()["automations"]]
        assert ids == [active.public_id]
        assert [row["id"] for row in api.get("/automations?key=mine").json()["automations"]] == ids
        assert [row["id"] for row in api.get("/automations?trigger=manual").json()["automations"]] == ids
        first = api.get("/automations?limit=3").json()
        second = api.get(f"/automations?limit=3&cursor={first['nextCursor']}").json()
        assert [row["name"] for row in second["automations"]] == ["D0"]
        assert second["nextCursor"] is None
        assert api.get("/automations?stat=ACTIVE").json()["code"] == "unknown_key"


class TestDraft:
    def test_the_etag_is_the_revision(self, api: ApiClient, workspace: Workspace) -> None:
        automation = made(workspace)
        path = f"/automations/{automation.public_id}/draft"
        tag = api.get(path)["ETag"]
        assert tag == '"1"'
        saved = api.put(path, text(WAITING), content_type=YAML, headers={"If-Match": tag})
        assert (saved.status_code, saved["ETag"], saved.json()["revision"]) == (200, '"2"', 2)

    @pytest.mark.parametrize("tag", ['"1"', "1", 'W/"1"', '"99"', '"abc"', '""'])
    def test_a_stale_tag_is_a_conflict(self, api: ApiClient, workspace: Workspace, tag: str) -> None:
        # DESIGN 5.5: a stale save is a 409
        automation = made(workspace)
        path = f"/automations/{automation.public_id}/draft"
        api.put(path, text(), content_type=YAML)
        answer = api.put(path, text(WAITING), content_type=YAML, headers={"If-Match": tag})
        assert (answer.status_code, answer.json()["code"]) == (409, "draft_conflict")
        assert answer.json()["details"]["revision"] == 2

    @pytest.mark.parametrize("headers", [{}, {"If-Match": "*"}])
    def test_without_a_tag_the_last_write_wins(
        self, api: ApiClient, workspace: Workspace, headers: dict[str, str]
    ) -> None:
        automation = made(workspace)
        path = f"/automations/{automation.public_id}/draft"
        for _again in range(2):
            assert api.put(path, GRAPH, headers=headers).status_code == 200

    def test_yaml_comes_back_as_it_was_written(self, api: ApiClient, workspace: Workspace) -> None:
        # CONTRACTS 4: the source text is kept
        written = "# why: because\n" + text(WAITING, name="Commented")
        automation = made(workspace)
        path = f"/automations/{automation.public_id}/draft"
        api.put(path, written, content_type=YAML)
        answer = api.get(path, headers={"Accept": YAML})
        assert answer["Content-Type"] == "application/yaml; charset=utf-8"
        assert answer.content.decode() == written

    def test_a_graph_can_be_read_as_yaml_and_stored_again(self, api: ApiClient) -> None:
        # DEF-24: two views of one definition
        made_id = api.post("/automations", GRAPH).json()["id"]
        path = f"/automations/{made_id}/draft"
        before = api.get(path).json()["definition"]
        written = api.get(path, headers={"Accept": YAML}).content.decode()
        api.put(path, written, content_type=YAML)
        assert api.get(path).json()["definition"] == before

    def test_no_draft_is_a_404_that_says_what_to_do(self, api: ApiClient, workspace: Workspace) -> None:
        automation = published(workspace)
        answer = api.get(f"/automations/{automation.public_id}/draft")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert "restore" in answer.json()["message"]

    def test_discarding(self, api: ApiClient, workspace: Workspace) -> None:
        automation = published(workspace)
        path = f"/automations/{automation.public_id}/draft"
        api.put(path, GRAPH)
        assert api.delete(path).status_code == 204
        assert api.get(path).status_code == 404
        only = made(workspace)
        assert api.delete(f"/automations/{only.public_id}/draft").json()["code"] == "wrong_state"

    def test_numbers_with_a_point_stay_exact(self, api: ApiClient) -> None:
        # DESIGN 4: numbers with a point are Decimals
        sent = '{"rate": 0.1, "big": 12345678901234567}'
        node = '{"id": "hook", "type": "send_webhook", "config": {"url": "https://x.example/", "body": ' + sent + "}}"
        body = '{"name": "N", "trigger": {"type": "manual"}, "nodes": [' + node + '], "edges": []}'
        made_id = api.post("/automations", body, content_type="application/json").json()["id"]
        raw = api.get(f"/automations/{made_id}/draft").content.decode()
        assert '"rate":0.1' in raw.replace(" ", "")
        assert '"big":12345678901234567' in raw.replace(" ", "")


class TestValidate:
    def test_a_body_is_checked_and_not_stored(self, api: ApiClient) -> None:
        answer = api.post("/automations/validate", GRAPH)
        assert answer.json() == {"valid": True, "problems": [], "depth": 1}
        assert not Automation.objects.exists()

    def test_the_draft_is_checked_where_it_stands(self, api: ApiClient, workspace: Workspace) -> None:
        automation = made(workspace, "steps: []")
        answer = api.post(f"/automations/{automation.public_id}/validate")
        assert (answer.status_code, answer.json()["valid"]) == (200, False)
        assert [problem["code"] for problem in answer.json()["problems"]] == ["no_steps"]

    def test_a_reader_may_validate(self, workspace: Workspace) -> None:
        client = make_api_client(workspace, ["read"])
        assert client.post("/automations/validate", GRAPH).status_code == 200
        assert client.post("/automations", GRAPH).status_code == 403


class TestVersions:
    def test_all_are_listed_with_state_author_and_time(self, api: ApiClient, workspace: Workspace) -> None:
        # VER-05
        automation = published(workspace)
        for _number in range(2):
            save_draft(actor=actor_of(workspace), automation_id=automation.pk, body=text(), fmt="yaml")
            api.post(f"/automations/{automation.public_id}/activate")
        rows = api.get(f"/automations/{automation.public_id}/versions").json()["versions"]
        assert [(row["number"], row["state"]) for row in rows] == [(3, "active"), (2, "inactive"), (1, "inactive")]
        assert all(row["author"] and row["activatedAt"] for row in rows)
        assert "definition" not in rows[0]
        page = api.get(f"/automations/{automation.public_id}/versions?limit=2").json()
        rest = api.get(f"/automations/{automation.public_id}/versions?limit=2&cursor={page['nextCursor']}").json()
        assert [row["number"] for row in rest["versions"]] == [1]

    def test_each_can_be_read(self, api: ApiClient, workspace: Workspace) -> None:
        automation = published(workspace, TAGGING)
        path = f"/automations/{automation.public_id}/versions/1"
        assert api.get(path).json()["definition"]["nodes"][0]["type"] == "add_tag"
        assert "action: add_tag" in api.get(path, headers={"Accept": YAML}).content.decode()
        for wrong in ("2", "0", "x", "-1", "99999999999999999999"):
            answer = api.get(f"/automations/{automation.public_id}/versions/{wrong}")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), wrong

    def test_an_old_one_is_restored_as_a_draft(self, api: ApiClient, workspace: Workspace) -> None:
        # VER-06, VER-07
        automation = published(workspace, TAGGING, name="Old")
        path = f"/automations/{automation.public_id}"
        api.put(f"{path}/draft", text(WAITING, name="New"), content_type=YAML)
        api.post(f"{path}/activate")
        answer = api.post(f"{path}/versions/1/restore")
        assert (answer.status_code, answer.json()["number"]) == (201, 3)
        assert answer.json()["definition"]["name"] == "Old"
        assert api.get(path).json()["activeVersion"] == 2
        assert Version.objects.filter(automation=automation, state="active").get().number == 2

    def test_a_copy_with_another_trigger(self, api: ApiClient, workspace: Workspace) -> None:
        # DEF-28
        automation = published(workspace, WAITING)
        body = {"name": "Twin", "trigger": {"type": "event", "event": "subscription_paid"}}
        answer = api.post(f"/automations/{automation.public_id}/duplicate", body)
        assert (answer.status_code, answer.json()["name"], answer.json()["state"]) == (201, "Twin", "DRAFT")
        assert answer.json()["trigger"] == {"type": "event", "event": "subscription_paid"}
        assert (
            api.post(f"/automations/{automation.public_id}/duplicate", {"triger": {}}).json()["code"] == "unknown_key"
        )


def test_json_of_a_draft_is_a_definition_again(api: ApiClient) -> None:
    # what is read can be put back unchanged
    made_id = api.post("/automations", GRAPH).json()["id"]
    found = api.get(f"/automations/{made_id}/draft").json()["definition"]
    again = api.put(f"/automations/{made_id}/draft", json.dumps(found), content_type="application/json")
    assert again.status_code == 200
    assert again.json()["definition"] == found
