"""`/email-templates`, `/senders`, `/deliveries` over HTTP (CONTRACTS 8)."""

from __future__ import annotations

from typing import Any

import pytest

from automations.models import DeliveryAttempt, Sender
from tests.factories import make_api_client, make_workspace
from tests.worker.deliveries import World

pytestmark = pytest.mark.django_db


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def editor(world: World) -> Any:
    return make_api_client(world.workspace, scopes=["read", "edit"])


def test_templates_are_made_read_changed_and_deleted(editor: Any) -> None:  # TPL-11
    made = editor.post("/email-templates", {"slug": "hello", "subject": "Hi {{customer.name}}", "body": "<p>x</p>"})
    assert made.status_code == 201, made.content
    number = made.json()["id"]
    assert number.startswith("tmpl_")
    assert editor.get(f"/email-templates/{number}").json() == made.json()
    changed = editor.patch(f"/email-templates/{number}", {"subject": "Hello"}).json()
    assert (changed["subject"], changed["body"]) == ("Hello", "<p>x</p>")
    assert [item["id"] for item in editor.get("/email-templates?slug=hello").json()["emailTemplates"]] == [number]
    assert editor.delete(f"/email-templates/{number}").status_code == 204
    assert editor.get(f"/email-templates/{number}").status_code == 404


def test_a_new_workspace_lists_the_named_texts(editor: Any) -> None:  # TPL-11
    found = {item["slug"] for item in editor.get("/email-templates?limit=100").json()["emailTemplates"]}
    assert {"payment_failed_first", "payment_failed_gentle", "payment_failed_urgent", "payment_failed_final"} <= found


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"slug": "x", "subject": "{{ oops", "body": "b"}, 422, "invalid"),
        ({"slug": "x", "subject": "s"}, 422, "invalid"),
        ({"slug": "x", "subject": "s", "body": "b", "sujet": "s"}, 422, "unknown_key"),
        ({"slug": "welcome", "subject": "s", "body": "b"}, 409, "conflict"),
    ],
)
def test_what_cannot_be_a_template_is_refused(editor: Any, body: dict[str, str], status: int, code: str) -> None:
    answer = editor.post("/email-templates", body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_only_verified_senders_are_offered(editor: Any, world: World) -> None:  # EML-05
    made = editor.post("/senders", {"address": "news@elsewhere.example", "name": "News"})
    assert (made.status_code, made.json()["verified"]) == (201, False)
    own = Sender.objects.get(workspace=world.workspace, default=True)
    assert [item["id"] for item in editor.get("/senders?verified=true").json()["senders"]] == [f"snd_{own.pk}"]
    assert len(editor.get("/senders").json()["senders"]) == 2
    answer = editor.patch(f"/senders/{made.json()['id']}", {"default": True})
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
    assert editor.get("/senders?verified=maybe").status_code == 422
    assert editor.delete(f"/senders/{made.json()['id']}").status_code == 204
    assert editor.delete(f"/senders/snd_{own.pk}").status_code == 409


def test_a_delivery_is_shown_with_its_tries(editor: Any, world: World) -> None:  # CONTRACTS 8
    run = world.run()
    delivery = world.mail(run)
    DeliveryAttempt.objects.create(
        workspace=world.workspace, delivery=delivery, number=1, fence=1, outcome="failed", at=delivery.created_at,
        error={"code": "mail_server", "message": "away"}, started_at=delivery.created_at,
    )  # fmt: skip
    shown = editor.get(f"/deliveries/dlv_{delivery.pk}").json()
    assert (shown["kind"], shown["state"], shown["to"]) == ("email", "QUEUED", world.customer.email)
    assert (shown["executionId"], shown["stepId"], shown["key"]) == (f"exec_{run.pk}", "call", delivery.key)
    assert [(item["number"], item["outcome"], item["error"]["code"]) for item in shown["attempts"]] == [
        (1, "failed", "mail_server")
    ]
    assert shown["body"] == "<p>Hello Ana</p>"
    assert shown["sentAt"] is None


def test_deliveries_are_filtered_and_paged(editor: Any, world: World, django_assert_max_num_queries: Any) -> None:
    runs = [world.run() for _ in range(3)]
    made = [world.mail(run) for run in runs]
    world.webhook("https://x.example", runs[0], effect=1)
    assert len(editor.get("/deliveries").json()["deliveries"]) == 4
    assert len(editor.get("/deliveries?kind=email&state=QUEUED").json()["deliveries"]) == 3
    one = editor.get(f"/deliveries?execution=exec_{runs[1].pk}").json()["deliveries"]
    assert [item["id"] for item in one] == [f"dlv_{made[1].pk}"]
    assert len(editor.get(f"/deliveries?customer=cus_{world.customer.pk}").json()["deliveries"]) == 4
    first = editor.get("/deliveries?limit=3").json()
    rest = editor.get(f"/deliveries?limit=3&cursor={first['nextCursor']}").json()
    assert (len(first["deliveries"]), len(rest["deliveries"]), rest["nextCursor"]) == (3, 1, None)
    assert editor.get("/deliveries?state=odd").status_code == 422
    with django_assert_max_num_queries(12):
        editor.get("/deliveries")


@pytest.mark.parametrize("path", ["/email-templates/{t}", "/senders/{s}", "/deliveries/{d}"])
def test_foreign_objects_do_not_exist(world: World, path: str) -> None:
    foreign = make_api_client(make_workspace(), scopes=["read", "edit"])
    from automations.models import EmailTemplate

    numbers = {
        "t": f"tmpl_{EmailTemplate.objects.filter(workspace=world.workspace).earliest('id').pk}",
        "s": f"snd_{Sender.objects.filter(workspace=world.workspace).earliest('id').pk}",
        "d": f"dlv_{world.mail().pk}",
    }
    assert foreign.get(path.format(**numbers)).status_code == 404


def test_reading_is_not_changing(world: World) -> None:
    reader = make_api_client(world.workspace, scopes=["read"])
    assert reader.get("/email-templates").status_code == 200
    assert reader.post("/email-templates", {"slug": "x", "subject": "s", "body": "b"}).status_code == 403
    assert reader.post("/senders", {"address": "a@b.example"}).status_code == 403
    assert reader.post("/deliveries", {}).status_code == 405
