"""Whole automations, from their text to the mail and the call (ACT-01, ACT-04, ERR-04 to 09, EML-02 to 08, MIS-03, C-45)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from accounts.actor import system_actor
from accounts.models import Task
from accounts.services.consent import record_consent
from automations.models import Delivery
from automations.services.deliveries import resolve_review
from automations.worker.loop import one_pass
from tests.factories import actor_of, make_customer, make_workspace
from tests.worker.living import happen, live, log_of, pass_time, settle, steps_of, the_run
from tests.worker.smtp_peer import MailServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _open(settings: Any) -> None:
    settings.ONWARD_EGRESS_ALLOW = ("127.0.0.0/8",)
    settings.ONWARD_ALLOW_CLOCK = True


@pytest.fixture
def mail(settings: Any) -> Iterator[MailServer]:
    with MailServer() as server:
        settings.ONWARD_SMTP_URL, settings.ONWARD_STARTTLS = server.url, "auto"
        yield server


WELCOME = """
steps:
  - {id: hello, type: action, action: send_email, template: welcome}
  - {id: rest, type: delay, duration: 2d}
  - {id: more, type: action, action: send_email, subject: "{{customer.name}}, still there?", body: "<p>{{trigger.plan}}</p>"}
"""


def test_a_welcome_series_arrives_mail_by_mail(mail: MailServer) -> None:  # ACT-01, EML-02
    workspace = make_workspace(name="Northwind")
    customer = make_customer(workspace, name="Ana")
    automation = live(workspace, WELCOME)
    happen(customer, payload={"plan": "gold"})
    settle(deliver=True)
    assert [message["Subject"] for message in mail.peer.messages] == ["Welcome to Northwind"]
    assert the_run(automation).parked_on == "timer"
    pass_time("+2d", deliver=True)
    assert [message["Subject"] for message in mail.peer.messages][1:] == ["Ana, still there?"]
    assert "<p>gold</p>" in mail.peer.messages[1].get_body(("html",)).get_content()
    assert the_run(automation).status == "COMPLETED"


def test_a_pass_of_the_automation_job_sends_nothing_and_the_mail_job_does(mail: MailServer) -> None:  # EML-08, RUN-21
    workspace = make_workspace()
    live(workspace, WELCOME)
    happen(make_customer(workspace))
    one_pass("automation")
    assert (Delivery.objects.get().state, mail.peer.messages) == ("QUEUED", [])
    one_pass("mail")
    assert (Delivery.objects.get().state, len(mail.peer.messages)) == ("SENT", 1)


FALLBACK = """
steps:
  - id: hello
    type: action
    action: send_email
    template: welcome
    to: "{{trigger.to}}"
    errorHandling: {retries: 1, retryDelay: 5m}
    onError:
      - {id: ask, type: action, action: create_task, assignee: "{{trigger.accountOwner}}", message: Email failed to send}
  - {id: after, type: action, action: add_tag, tag: written}
"""


def test_a_failing_mail_is_tried_again_and_then_becomes_a_task(mail: MailServer) -> None:  # ERR-05, ERR-06, ERR-07
    mail.peer.rcpt = ["450 not now", "450 not now"]
    workspace = make_workspace()
    automation = live(workspace, FALLBACK)
    happen(make_customer(workspace), payload={"to": "ana@example.com", "accountOwner": "mara@northwind.example"})
    settle(deliver=True)
    assert the_run(automation).parked_on == "delivery"
    pass_time("+5m", deliver=True)
    run = the_run(automation)
    assert run.status == "COMPLETED"
    assert steps_of(run) == ["hello", "hello", "ask", "after"]
    assert [row.status for row in log_of(run)][:2] == ["failed", "failed"]
    task = Task.objects.get(workspace=workspace)
    assert (task.message, task.assignee) == ("Email failed to send", "mara@northwind.example")


def test_a_mail_that_succeeds_on_its_second_try_needs_no_fallback(mail: MailServer) -> None:  # ERR-04
    mail.peer.rcpt = ["450 not now"]
    workspace = make_workspace()
    automation = live(workspace, FALLBACK)
    happen(make_customer(workspace), payload={"to": "ana@example.com"})
    settle(deliver=True)
    pass_time("+5m", deliver=True)
    run = the_run(automation)
    assert steps_of(run) == ["hello", "hello", "after"]
    assert [row.status for row in log_of(run)] == ["failed", "succeeded", "succeeded"]
    assert not Task.objects.filter(workspace=workspace).exists()
    assert len(mail.peer.messages) == 1


def test_an_impossible_recipient_goes_to_the_fallback_after_one_try(mail: MailServer) -> None:  # ERR-10
    workspace = make_workspace()
    automation = live(workspace, FALLBACK)
    happen(make_customer(workspace), payload={"to": "nowhere"})
    settle(deliver=True)
    run = the_run(automation)
    assert steps_of(run) == ["hello", "ask", "after"]
    assert Delivery.objects.get(run=run).attempts == 1


CALL = """
steps:
  - {id: call, type: action, action: send_webhook, url: "URL", body: {name: "{{customer.name}}"}, ERRORS}
  - id: good
    type: condition
    if: steps.call.body.score > 5
    then: [{id: high, type: action, action: add_tag, tag: high}]
    else: [{id: low, type: action, action: add_tag, tag: low}]
"""


def called(server: HTTPServer, *statuses: int) -> list[bytes]:
    """A receiver that answers with these, then 200."""
    seen: list[bytes] = []
    left = list(statuses)

    def answer(request: Any) -> Response:
        seen.append(request.get_data())
        return Response('{"score": 7}', left.pop(0) if left else 200, {"Content-Type": "application/json"})

    server.expect_request("/hook").respond_with_handler(answer)
    return seen


def calling(server: HTTPServer, errors: str = "note: x") -> str:
    return CALL.replace("URL", server.url_for("/hook")).replace("ERRORS", errors)


def test_the_answer_of_a_call_decides_the_way(httpserver: HTTPServer) -> None:  # MIS-03
    seen = called(httpserver)
    workspace = make_workspace()
    automation = live(workspace, calling(httpserver))
    happen(make_customer(workspace, name="Ana"))
    settle(deliver=True)
    run = the_run(automation)
    assert (run.status, steps_of(run)) == ("COMPLETED", ["call", "good", "high"])
    assert seen == [b'{"name": "Ana"}']


def test_four_requests_and_then_the_run_fails(httpserver: HTTPServer) -> None:  # ERR-01, ERR-03, ERR-07
    seen = called(httpserver, *[500] * 9)
    workspace = make_workspace()
    handling = "errorHandling: {retries: 3, retryDelay: 5m, backoffMultiplier: 2}"
    automation = live(workspace, calling(httpserver, handling))
    happen(make_customer(workspace))
    settle(deliver=True)
    for step, expected in (("+5m", 2), ("+10m", 3), ("+20m", 4), ("+3d", 4)):
        pass_time(step, deliver=True)
        assert len(seen) == expected
    run = the_run(automation)
    assert (run.status, run.error["code"]) == ("FAILED", "http_status")
    assert [(row.attempt, row.status) for row in log_of(run)] == [(number, "failed") for number in range(4)]


def test_a_run_cancelled_by_an_unsubscribe_makes_no_call(httpserver: HTTPServer) -> None:  # SUP-01
    seen = called(httpserver)
    workspace = make_workspace()
    customer = make_customer(workspace)
    automation = live(workspace, calling(httpserver))
    happen(customer)
    settle()
    record_consent(actor=system_actor(workspace.pk), address=customer.email, state="unsubscribed")
    settle(deliver=True)
    run = the_run(automation)
    assert (run.status, run.end_reason, seen) == ("CANCELLED", "unsubscribed", [])
    assert Delivery.objects.get(run=run).state == "CANCELLED"


def test_a_transactional_run_goes_on_without_its_mail(mail: MailServer) -> None:  # C-15, SUP-02
    workspace = make_workspace()
    customer = make_customer(workspace)
    automation = live(workspace, "settings: {transactional: true}\n" + WELCOME)
    record_consent(actor=system_actor(workspace.pk), address=customer.email, state="unsubscribed")
    happen(customer)
    settle(deliver=True)
    pass_time("+2d", deliver=True)
    run = the_run(automation)
    assert run.status == "COMPLETED"
    assert set(Delivery.objects.filter(run=run).values_list("state", flat=True)) == {"SUPPRESSED"}
    assert [row.status for row in log_of(run) if row.type == "send_email"] == ["skipped", "skipped"]
    assert mail.peer.messages == []


def test_a_mail_in_doubt_lets_its_run_take_the_fallback(mail: MailServer) -> None:  # RELIABILITY 29, C-45
    mail.peer.data = ["drop"]
    workspace = make_workspace()
    automation = live(workspace, FALLBACK)
    happen(make_customer(workspace), payload={"to": "ana@example.com"})
    settle(deliver=True)
    run = the_run(automation)
    delivery = Delivery.objects.get(run=run)
    assert (delivery.state, run.status) == ("REVIEW", "COMPLETED")
    assert steps_of(run) == ["hello", "ask", "after"]
    resolve_review(actor=actor_of(workspace), delivery_id=delivery.pk, happened=True)
    assert [row.flags for row in log_of(the_run(automation)) if row.step == "hello"] == [0, 2]
