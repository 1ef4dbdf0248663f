"""`send_webhook` from the step to the receiver (ACT-04, MIS-03, C-25, VAR-22, VAR-27, CONTRACTS 9)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError
from pytest_httpserver import HTTPServer
from standardwebhooks import Webhook, WebhookVerificationError
from werkzeug import Response
from werkzeug.wrappers import Request

from automations.actions.send_webhook import WebhookConfig, send_webhook
from automations.worker.deliver import deliver_batch
from tests.actions.walking import Walked
from tests.worker.deliveries import logged, pass_time

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _loopback(settings: Any) -> None:
    settings.ONWARD_EGRESS_ALLOW = ("127.0.0.0/8",)


class Seen:
    """Every request the receiver got, with its body."""

    def __init__(self, server: HTTPServer, *statuses: int) -> None:
        self.requests: list[Request] = []
        self.bodies: list[bytes] = []
        self.statuses = list(statuses)
        server.expect_request("/hook").respond_with_handler(self._take)
        self.url = server.url_for("/hook")

    def _take(self, request: Request) -> Response:
        self.requests.append(request)
        self.bodies.append(request.get_data())
        return Response(
            '{"id": 5}', self.statuses.pop(0) if self.statuses else 201, {"Content-Type": "application/json"}
        )


def test_the_receiver_gets_exactly_what_the_step_says(httpserver: HTTPServer) -> None:  # MIS-03
    seen = Seen(httpserver)
    config = {
        "url": f"{seen.url}?name={{{{customer.name}}}}",
        "method": "PUT",
        "headers": {"X-Source": "onward {{trigger.reason}}"},
        "body": {
            "reason": "{{trigger.reason}}",
            "count": "{{trigger.count}}",
            "text": "n {{trigger.count}}",
            "list": [1, True],
        },
    }
    world = Walked("send_webhook", config, trigger={"reason": "card", "count": 3})
    assert world.walk().parked_on == "delivery"
    deliver_batch()
    (request,) = seen.requests
    assert (request.method, request.args["name"], request.headers["X-Source"]) == ("PUT", "Ana Ruiz", "onward card")
    assert json.loads(seen.bodies[0]) == {"reason": "card", "count": 3, "text": "n 3", "list": [1, True]}
    assert request.headers["Content-Type"] == "application/json"


def test_the_answer_is_the_output(httpserver: HTTPServer) -> None:  # MIS-03, CONTRACTS 9
    seen = Seen(httpserver)
    world = Walked("send_webhook", {"url": seen.url})
    world.walk()
    deliver_batch()
    run = world.walk()
    (row,) = logged(run)
    assert run.status == "COMPLETED"
    assert (row.output["status"], row.output["body"]) == (201, {"id": 5})
    assert row.output["headers"]["content-type"] == "application/json"


def test_every_try_is_signed_by_standard_webhooks(httpserver: HTTPServer) -> None:  # ACT-04
    seen = Seen(httpserver, 500)
    world = Walked("send_webhook", {"url": seen.url, "body": {"a": 1}})
    world.walk()
    deliver_batch()
    pass_time(100)
    deliver_batch()
    checker = Webhook(world.workspace.webhook_secret)
    assert len(seen.requests) == 2
    for request, body in zip(seen.requests, seen.bodies, strict=True):
        assert checker.verify(body, {name.lower(): value for name, value in request.headers.items()}) == {"a": 1}
    ids = {request.headers["webhook-id"] for request in seen.requests}
    assert ids == {world.queued()[0].key}
    altered = {name.lower(): value for name, value in seen.requests[0].headers.items()}
    with pytest.raises(WebhookVerificationError):
        checker.verify(b'{"a":2}', altered)


def test_the_secret_is_nowhere_stored_with_the_delivery(httpserver: HTTPServer) -> None:  # INVARIANTS X5
    seen = Seen(httpserver)
    world = Walked("send_webhook", {"url": seen.url})
    world.walk()
    deliver_batch()
    (delivery,) = world.queued()
    kept = json.dumps(
        [delivery.envelope, delivery.outcome, delivery.error, [row.output for row in logged(world.started)]]
    )
    assert world.workspace.webhook_secret not in kept
    assert world.workspace.webhook_secret.removeprefix("whsec_") not in kept


def test_without_a_body_the_run_is_told(httpserver: HTTPServer) -> None:  # ACT-04: the run's data
    seen = Seen(httpserver)
    world = Walked("send_webhook", {"url": seen.url}, trigger={"reason": "card"})
    world.walk()
    deliver_batch()
    sent = json.loads(seen.bodies[0])
    assert sent["type"] == "automation.step"
    assert sent["data"]["execution"] == f"exec_{world.started.pk}"
    assert sent["data"]["automation"] == f"auto_{world.automation.pk}"
    assert sent["data"]["step"] == "act"
    assert sent["data"]["customer"]["id"] == f"cus_{world.customer.pk}"
    assert sent["data"]["trigger"]["reason"] == "card"


def test_a_get_carries_no_body(httpserver: HTTPServer) -> None:
    seen = Seen(httpserver)
    Walked("send_webhook", {"url": seen.url, "method": "GET"}).walk()
    deliver_batch()
    assert (seen.requests[0].method, seen.bodies) == ("GET", [b""])


def test_text_is_sent_as_text(httpserver: HTTPServer) -> None:
    seen = Seen(httpserver)
    Walked("send_webhook", {"url": seen.url, "body": "Hello {{customer.name}}"}).walk()
    deliver_batch()
    assert seen.bodies == [b"Hello Ana Ruiz"]
    assert seen.requests[0].headers["Content-Type"].startswith("text/plain")


def test_values_cannot_break_out_of_address_or_json(httpserver: HTTPServer) -> None:  # VAR-27
    seen = Seen(httpserver)
    nasty = 'a&b="c"/../?x'
    config = {"url": seen.url + "?q={{customer.name}}", "body": {"name": "{{customer.name}}"}}
    Walked("send_webhook", config, customer={"name": nasty}).walk()
    deliver_batch()
    assert seen.requests[0].args.to_dict() == {"q": nasty}
    assert json.loads(seen.bodies[0]) == {"name": nasty}


def test_a_line_break_in_a_header_fails_the_step() -> None:  # RELIABILITY 56
    config = {"url": "https://crm.example/hook", "headers": {"X-Name": "{{trigger.name}}"}}
    run = Walked("send_webhook", config, trigger={"name": "a\r\nX-Admin: yes"}).walk()
    assert run.status == "FAILED"


def test_a_failed_call_takes_the_error_output(httpserver: HTTPServer) -> None:  # ACT-04, ERR-05
    seen = Seen(httpserver, 404)
    world = Walked("send_webhook", {"url": seen.url}, fallback=True)
    world.walk()
    deliver_batch()
    run = world.walk()
    assert (run.status, logged(run)[-1].step) == ("COMPLETED", "stopped")
    assert logged(run)[0].error["details"]["status"] == 404


def test_a_failed_call_without_a_fallback_fails_the_run(httpserver: HTTPServer) -> None:  # ERR-07
    seen = Seen(httpserver, 404)
    world = Walked("send_webhook", {"url": seen.url})
    world.walk()
    deliver_batch()
    run = world.walk()
    assert (run.status, run.error["code"]) == ("FAILED", "http_status")


def test_the_policy_of_the_automation_is_that_of_the_delivery(httpserver: HTTPServer) -> None:  # ERR-01, ERR-09
    seen = Seen(httpserver, 500, 500, 500, 500, 500)
    handling = {"retries": 1, "retryDelay": "10m", "backoffMultiplier": 2}
    world = Walked("send_webhook", {"url": seen.url}, errorHandling=handling)
    world.walk()
    (delivery,) = world.queued()
    assert (delivery.retries, delivery.retry_delay, delivery.backoff, delivery.exact_waits) == (1, 600, 2.0, True)
    for _try in range(4):
        deliver_batch()
        pass_time(1300)
    assert len(seen.requests) == 2  # one layer of retries, not two


@pytest.mark.parametrize(
    "name", ["webhook-id", "Webhook-Signature", "Idempotency-Key", "Host", "Content-Length", "a b", "x\r\ny"]
)
def test_headers_that_are_ours_cannot_be_set(name: str) -> None:
    with pytest.raises(ValidationError):
        WebhookConfig(url="https://crm.example", headers={name: "x"})


def test_its_card_says_where_it_goes() -> None:
    assert send_webhook.summary(send_webhook.sample()) == "POST https://crm.example/hooks/dunning"
