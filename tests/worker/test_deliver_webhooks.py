"""Deliveries over HTTP, against a real receiver on loopback (ACT-04, ERR-01 to 10, RELIABILITY 27, 28)."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response
from werkzeug.wrappers import Request

from automations.models import Delivery, DeliveryAttempt, DeliveryBody
from automations.worker.deliver import deliver_batch
from tests.worker.deliveries import World, logged, pass_time

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _loopback(settings: Any) -> None:
    settings.ONWARD_EGRESS_ALLOW = ("127.0.0.0/8",)


class Receiver:
    """Answers with the given statuses in turn, then 200, and remembers every request."""

    def __init__(self, server: HTTPServer, *statuses: int, headers: dict[str, str] | None = None) -> None:
        self.statuses, self.headers = list(statuses), headers or {}
        self.requests: list[Request] = []
        self.bodies: list[bytes] = []
        server.expect_request("/hook").respond_with_handler(self._answer)
        self.url = server.url_for("/hook")

    def _answer(self, request: Request) -> Response:
        self.requests.append(request)
        self.bodies.append(request.get_data())
        status = self.statuses.pop(0) if self.statuses else 200
        return Response('{"score": 7}', status, self.headers | {"Content-Type": "application/json"})


def test_an_answered_call_moves_the_run_on_with_its_output(httpserver: HTTPServer) -> None:  # ACT-04, MIS-03
    world, receiver = World(), Receiver(httpserver)
    run = world.run()
    delivery = world.webhook(receiver.url, run)
    assert deliver_batch() == 1
    delivery.refresh_from_db()
    run.refresh_from_db()
    assert (delivery.state, delivery.due_at, delivery.lease_until) == ("SENT", None, None)
    assert (run.parked_on, run.status, run.due_at is not None) == (None, "RUNNING", True)
    assert run.answer["delivery"] == delivery.pk
    assert run.answer["outcome"]["kind"] == "done"
    assert run.answer["outcome"]["output"]["body"] == {"score": 7}
    assert run.answer["outcome"]["output"]["status"] == 200
    assert deliver_batch() == 0


@pytest.mark.parametrize("answer", [r'{"a": "\ud83d"}', r'{"\udca9": [1]}', r'{"a": "\u0000"}', r'{"a": "\\u0000"}'])
def test_an_answer_that_cannot_be_stored_as_it_is_still_settles_the_call(httpserver: HTTPServer, answer: str) -> None:
    """Half a character in it once left the call unsettled, so that it was made again and again (O4, O5)."""
    world = World()
    server = httpserver.expect_request("/hook")
    server.respond_with_data(answer, content_type="application/json")
    run = world.run()
    delivery = world.webhook(httpserver.url_for("/hook"), run)
    assert deliver_batch() == 1
    delivery.refresh_from_db()
    run.refresh_from_db()
    assert (delivery.state, delivery.lease_until, run.answer["outcome"]["kind"]) == ("SENT", None, "done")


def test_the_waits_are_those_that_were_written(httpserver: HTTPServer) -> None:  # ERR-02, ERR-03
    world, receiver = World(), Receiver(httpserver, 503, 503, 503, 503)
    run = world.run()
    delivery = world.webhook(receiver.url, run, retries=3, retry_delay=300, backoff=2.0, exact_waits=True)
    for tries, minutes in enumerate((5, 10, 20), start=1):
        assert deliver_batch() == 1
        delivery.refresh_from_db()
        assert delivery.state == "QUEUED"
        assert len(receiver.requests) == tries
        attempt = DeliveryAttempt.objects.filter(delivery=delivery).latest("number")
        assert abs((delivery.due_at - attempt.at).total_seconds() - minutes * 60) < 1
        pass_time(minutes * 60 - 2)
        assert deliver_batch() == 0  # never early
        pass_time(2.1)
    assert deliver_batch() == 1
    delivery.refresh_from_db()
    run.refresh_from_db()
    assert (delivery.state, len(receiver.requests)) == ("FAILED", 4)  # ERR-01: 1 + 3
    assert run.answer["outcome"]["code"] == "http_status"
    assert run.answer["outcome"]["details"]["status"] == 503


def test_every_try_has_the_same_key_and_bytes(httpserver: HTTPServer) -> None:  # ERR-01, INVARIANTS O2, O3
    world, receiver = World(), Receiver(httpserver, 500, 500)
    delivery = world.webhook(receiver.url, retry_delay=1, exact_waits=True)
    for _try in range(3):
        assert deliver_batch() == 1
        pass_time(5)
    assert {request.headers["Idempotency-Key"] for request in receiver.requests} == {delivery.key}
    assert {request.headers["webhook-id"] for request in receiver.requests} == {delivery.key}
    assert set(receiver.bodies) == {b'{"a":1}'}
    delivery.refresh_from_db()
    hashes = set(DeliveryAttempt.objects.filter(delivery=delivery).values_list("request_sha256", flat=True))
    assert hashes == {delivery.request_sha256}
    assert DeliveryBody.objects.filter(delivery_id=delivery.pk).count() == 1


def test_a_repeated_try_is_a_row_of_the_log_and_success_goes_on(httpserver: HTTPServer) -> None:  # ERR-04
    world, receiver = World(), Receiver(httpserver, 500)
    run = world.run()
    world.webhook(receiver.url, run, retry_delay=1, exact_waits=True)
    assert deliver_batch() == 1
    run.refresh_from_db()
    assert [(row.attempt, row.status, row.port) for row in logged(run)] == [(0, "failed", None)]
    assert (run.attempt, run.parked_on) == (1, "delivery")
    pass_time(2)
    assert deliver_batch() == 1
    run.refresh_from_db()
    assert (run.parked_on, run.answer["outcome"]["kind"]) == (None, "done")


@pytest.mark.parametrize("status", [301, 400, 401, 404, 410, 422])
def test_what_cannot_succeed_is_not_repeated(httpserver: HTTPServer, status: int) -> None:  # ERR-10
    world, receiver = World(), Receiver(httpserver, status)
    delivery = world.webhook(receiver.url)
    assert deliver_batch() == 1
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts, len(receiver.requests)) == ("FAILED", 1, 1)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_what_may_succeed_is_repeated(httpserver: HTTPServer, status: int) -> None:
    world, receiver = World(), Receiver(httpserver, status)
    delivery = world.webhook(receiver.url)
    assert deliver_batch() == 1
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == ("QUEUED", 1)


def test_the_receiver_may_ask_for_a_longer_wait(httpserver: HTTPServer) -> None:  # RELIABILITY 28
    world, receiver = World(), Receiver(httpserver, 429, headers={"Retry-After": "900"})
    delivery = world.webhook(receiver.url, retry_delay=60, exact_waits=True)
    deliver_batch()
    delivery.refresh_from_db()
    attempt = DeliveryAttempt.objects.get(delivery=delivery)
    assert abs((delivery.due_at - attempt.at).total_seconds() - 900) < 1


def test_built_in_waits_are_jittered_by_at_most_a_tenth(httpserver: HTTPServer) -> None:
    world, receiver = World(), Receiver(httpserver, *[500] * 6)
    deliveries = [world.webhook(receiver.url) for _ in range(6)]
    assert deliver_batch() == 6
    waits = []
    for delivery in deliveries:
        delivery.refresh_from_db()
        waits.append((delivery.due_at - DeliveryAttempt.objects.get(delivery=delivery).at).total_seconds())
    assert all(59.9 <= wait <= 66.1 for wait in waits)
    assert len(set(waits)) > 1


def test_a_late_outcome_changes_nothing(httpserver: HTTPServer) -> None:  # DESIGN 5.3
    world, receiver = World(), Receiver(httpserver)
    run = world.run(seq=1)
    delivery = world.webhook(receiver.url, run)
    run.seq, run.parked_on, run.due_at = 2, "timer", run.started_at
    run.save()
    assert deliver_batch() == 1
    delivery.refresh_from_db()
    run.refresh_from_db()
    assert delivery.state == "SENT"
    assert (run.parked_on, run.answer) == ("timer", None)
    assert [(row.seq, row.flags, row.status) for row in logged(run)] == [(1, 2, "succeeded")]


def test_a_visit_with_several_deliveries_goes_on_with_the_last(httpserver: HTTPServer) -> None:
    world, receiver = World(), Receiver(httpserver, 404)
    run = world.run()
    world.webhook(receiver.url, run)
    world.webhook(receiver.url, run, effect=1)
    assert deliver_batch(limit=1, threads=1) == 1
    run.refresh_from_db()
    assert run.parked_on == "delivery"
    assert deliver_batch(limit=1, threads=1) == 1
    run.refresh_from_db()
    assert run.parked_on is None
    assert run.answer["outcome"]["kind"] == "failed"


def test_a_private_address_is_refused_for_good(settings: Any, httpserver: HTTPServer) -> None:  # MIS-03, RELIABILITY 42
    settings.ONWARD_EGRESS_ALLOW = ()
    world, receiver = World(), Receiver(httpserver)
    delivery = world.webhook(receiver.url)
    assert deliver_batch() == 1
    delivery.refresh_from_db()
    assert (delivery.state, delivery.error["code"]) == ("FAILED", "address_not_allowed")
    assert receiver.requests == []


def test_only_the_wanted_kinds_are_made(httpserver: HTTPServer) -> None:  # EML-08
    world, receiver = World(), Receiver(httpserver)
    world.webhook(receiver.url)
    assert deliver_batch(kinds=["email"]) == 0
    assert deliver_batch(kinds=["http"]) == 1
    assert len(receiver.requests) == 1


def test_workspaces_take_turns(httpserver: HTTPServer) -> None:  # DESIGN 5.2, fairness
    receiver = Receiver(httpserver)
    busy, quiet = World(), World()
    for _ in range(20):
        busy.webhook(receiver.url)
    late = quiet.webhook(receiver.url)
    assert deliver_batch(limit=4, threads=2) >= 2
    assert Delivery.objects.get(pk=late.pk).state == "SENT"
    assert Delivery.objects.filter(workspace=busy.workspace, state="QUEUED").exists()
