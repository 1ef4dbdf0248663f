"""`/workspace`, `/limits`, `/funnels`, `/stages`, `/tasks`, `/audit` (CONTRACTS 8; LIM-04, LIM-14; C-06)."""

from __future__ import annotations

import pytest

from accounts.api.workspace import _usages, add_usage
from accounts.models import Customer, Plan, Task, Workspace
from tests.factories import ApiClient, make_api_client, make_browser, make_customer, make_task, owner_of


def test_the_workspace_can_be_changed(api: ApiClient, workspace: Workspace) -> None:
    change = {"name": "Northwind", "currency": "usd", "timeZone": "Europe/Berlin", "defaults": {"pacing": "tick"}}
    answer = api.patch("/workspace", change)
    assert answer.status_code == 200, answer.content
    shown = api.get("/workspace").json()
    assert (shown["name"], shown["currency"], shown["timeZone"]) == ("Northwind", "USD", "Europe/Berlin")
    assert shown["defaults"] == {"pacing": "tick"}
    api.patch("/workspace", {"defaults": {"mailCap": 3}})
    assert api.patch("/workspace", {"defaults": {"pacing": None}}).json()["defaults"] == {"mailCap": 3}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("currency", "EURO"),
        ("currency", "12"),
        ("timeZone", "Nowhere"),
        ("timeZone", ""),
        ("plan", "GOLD"),
    ],
)
def test_a_wrong_setting_is_named(api: ApiClient, field: str, value: str) -> None:
    answer = api.patch("/workspace", {field: value})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert field in answer.json()["details"]["fields"]


def test_the_signing_secret_is_for_administrators(api: ApiClient, workspace: Workspace) -> None:
    secret = api.get("/workspace").json()["webhookSecret"]
    assert secret.startswith("whsec_")
    assert make_api_client(workspace, ["read"]).get("/workspace").json()["webhookSecret"] is None
    rotated = api.patch("/workspace", {"rotateWebhookSecret": True}).json()["webhookSecret"]
    assert rotated.startswith("whsec_")
    assert rotated != secret
    audit = api.get("/audit?action=workspace.update").content.decode()
    assert secret not in audit
    assert rotated not in audit


def test_limits_are_those_of_the_plan_row(api: ApiClient, workspace: Workspace) -> None:
    # LIM-01 to LIM-09, LIM-14
    pro = api.get("/limits").json()
    assert (pro["plan"], pro["stageAutomations"], pro["stageDepth"], pro["monthlyEmails"]) == ("PRO", 5, 5, 20000)
    assert (pro["globalAutomations"], pro["globalDepth"]) == (None, None)
    api.patch("/workspace", {"plan": "HOBBY"})
    hobby = api.get("/limits").json()
    assert (hobby["stageAutomations"], hobby["stageDepth"], hobby["monthlyEmails"]) == (1, 3, 3000)
    api.patch("/workspace", {"plan": "FREE"})
    free = api.get("/limits").json()
    assert (free["stageAutomations"], free["globalAutomations"], free["monthlyEmails"]) == (0, 0, 0)
    assert free["stageDepth"] is None, "LIM-04: does not apply"


def test_a_changed_row_is_a_changed_limit(api: ApiClient) -> None:
    # LIM-14
    Plan.objects.filter(slug="PRO").update(stage_automations=7)
    assert api.get("/limits").json()["stageAutomations"] == 7


def test_use_is_shown_beside_the_limits(api: ApiClient, workspace: Workspace) -> None:
    # LIM-14
    add_usage("test", lambda workspace_id: {"workspace": workspace_id})
    try:
        assert api.get("/limits").json()["usage"]["test"] == {"workspace": workspace.pk}
    finally:
        _usages.pop("test")


def test_a_new_workspace_has_the_default_funnel(api: ApiClient) -> None:
    # CONTRACTS 2
    (funnel,) = api.get("/funnels").json()["funnels"]
    assert funnel["slug"] == "default"
    assert [stage["slug"] for stage in funnel["stages"]] == ["AWARENESS", "CONSIDERATION", "TRIAL", "CUSTOMER"]
    assert funnel["stages"][-1]["buckets"] == ["Retained", "Upgraded", "Churned"]
    assert api.get(f"/funnels/{funnel['id']}").json() == funnel
    assert [row["slug"] for row in api.get("/stages?funnel=default").json()["stages"]] == [
        stage["slug"] for stage in funnel["stages"]
    ]


def test_funnels_and_stages_are_made_and_changed(api: ApiClient) -> None:
    # C-06: further funnels
    funnel = api.post("/funnels", {"name": "Partner sales"}).json()
    assert (funnel["slug"], funnel["stages"]) == ("partner-sales", [])
    stage = api.post("/stages", {"funnel": funnel["id"], "slug": "LEAD", "buckets": ["Cold", "Warm"]})
    assert stage.status_code == 201, stage.content
    assert (stage.json()["order"], stage.json()["funnel"]) == (1, "partner-sales")
    second = api.post("/stages", {"funnel": "partner-sales", "slug": "WON", "name": "Won"}).json()
    assert second["order"] == 2
    changed = api.patch(f"/stages/{second['id']}", {"buckets": ["Big"]}).json()
    assert (changed["name"], changed["buckets"]) == ("Won", ["Big"])
    assert api.get(f"/stages/{second['id']}").json() == changed
    renamed = api.patch(f"/funnels/{funnel['id']}", {"name": "Partners"}).json()
    assert (renamed["name"], renamed["slug"]) == ("Partners", "partner-sales")
    assert api.patch(f"/funnels/{funnel['id']}", {}).json() == renamed


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/funnels", {"name": "Default", "slug": "default"}, 409, "conflict"),
        ("/funnels", {"name": "!!!"}, 422, "invalid"),
        ("/funnels", {}, 422, "invalid"),
        ("/stages", {"funnel": "default", "slug": "trial"}, 409, "conflict"),
        ("/stages", {"funnel": "default", "slug": "1 2"}, 422, "invalid"),
        ("/stages", {"funnel": "nowhere", "slug": "X"}, 422, "unknown_reference"),
        ("/stages", {"funnel": "default", "slug": "X", "buckets": ["A", "a"]}, 422, "invalid"),
        ("/stages", {"funnel": "default", "slug": "X", "buckets": [" "]}, 422, "invalid"),
    ],
)
def test_a_funnel_or_stage_that_cannot_be_is_refused(
    api: ApiClient, path: str, body: dict[str, object], status: int, code: str
) -> None:
    answer = api.post(path, body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.content


def test_a_task_goes_from_open_to_done(api: ApiClient, workspace: Workspace, customer: Customer) -> None:
    made = api.post(
        "/tasks",
        {
            "title": "Call Ana",
            "message": "She asked.",
            "assignee": owner_of(workspace).email,
            "dueAt": "2026-12-01T09:00:00+01:00",
            "customer": {"email": "ana@example.com"},
        },
    )
    assert made.status_code == 201, made.content
    task = made.json()
    assert (task["state"], task["dueAt"]) == ("open", "2026-12-01T08:00:00.000Z")
    assert (task["customer"], task["subject"]) == (customer.public_id, {"customer": customer.public_id})
    assert Task.objects.get().assignee_user == owner_of(workspace)
    browser = make_browser(workspace)
    done = browser.patch(f"/tasks/{task['id']}", {"state": "done", "message": "Done."}).json()
    assert (done["state"], done["doneBy"], done["message"]) == ("done", owner_of(workspace).email, "Done.")
    assert done["doneAt"] is not None
    assert api.get(f"/tasks/{task['id']}").json() == done
    opened = api.patch(f"/tasks/{task['id']}", {"state": "open"}).json()
    assert (opened["state"], opened["doneAt"]) == ("open", None)


def test_tasks_are_filtered(api: ApiClient, workspace: Workspace) -> None:
    customer = make_customer(workspace)
    one = make_task(workspace, customer_id=customer.pk, assignee="Support")
    two = make_task(workspace)
    api.patch(f"/tasks/{two.public_id}", {"state": "done"})
    for query, found in {
        "state=open": one,
        "state=done": two,
        "assignee=support": one,
        f"customer={customer.public_id}": one,
    }.items():
        assert [row["id"] for row in api.get(f"/tasks?{query}").json()["tasks"]] == [found.public_id], query
    wrong = api.get("/tasks?state=finished")
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid")


@pytest.mark.parametrize("body", [{}, {"title": " "}, {"message": ""}, {"title": "x" * 201}])
def test_a_task_needs_something_to_read(api: ApiClient, body: dict[str, str]) -> None:
    answer = api.post("/tasks", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


def test_the_audit_log_says_who_did_what(api: ApiClient, workspace: Workspace, customer: Customer) -> None:
    # CONTRACTS 3
    api.patch(f"/customers/{customer.public_id}", {"name": "Confidential Name"})
    entry = api.get(f"/audit?object={customer.public_id}&action=customer.update").json()["audit"][0]
    assert entry["actor"].startswith("API key")
    assert entry["apiKey"].startswith("key_")
    assert entry["after"] == {"changed": ["name"]}
    browser = make_browser(workspace)
    browser.patch("/workspace", {"name": "New name"})
    entry = browser.get("/audit?action=workspace.update").json()["audit"][0]
    assert (entry["user"], entry["actor"]) == (owner_of(workspace).public_id, owner_of(workspace).email)
    assert entry["after"] == {"name": "New name"}
    assert "Confidential" not in api.get("/audit?limit=100").content.decode(), "SUP-06: no personal values"


def test_the_openapi_document_describes_every_endpoint(db: None) -> None:
    # DESIGN 7
    from drf_spectacular.drainage import GENERATOR_STATS
    from drf_spectacular.generators import SchemaGenerator
    from drf_spectacular.validation import validate_schema

    from accounts.api import urls

    with GENERATOR_STATS.silence():
        schema = SchemaGenerator(patterns=urls.urlpatterns).get_schema(request=None, public=True)
    validate_schema(schema)
    assert not GENERATOR_STATS
    operations = [operation for path in schema["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        assert {"401", "403", "404", "429", "503"} <= set(operation["responses"]), operation["operationId"]
        assert operation["security"]
