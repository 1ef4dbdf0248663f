"""Mail from the queue to a real server (EML-01 to 05, 08, 14, ERR-10, RELIABILITY 29)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Task
from automations.models import Delivery, DeliveryAttempt, DeliveryBody
from automations.worker import deliver
from automations.worker.deliver import deliver_batch
from automations.worker.resources import keep_texts, text_hash
from tests.worker.deliveries import World, expire_lease, logged, pass_time
from tests.worker.smtp_peer import MailServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def mail(settings: Any) -> Iterator[MailServer]:
    with MailServer() as server:
        settings.ONWARD_SMTP_URL = server.url
        settings.ONWARD_STARTTLS = "auto"
        yield server


def test_a_queued_mail_is_handed_over_once(mail: MailServer) -> None:  # EML-02, EML-14
    world = World()
    delivery = world.mail()
    assert deliver_batch() == 1
    assert deliver_batch() == 0
    delivery.refresh_from_db()
    (message,) = mail.peer.messages
    assert delivery.state == "SENT"
    assert delivery.sent_at is not None
    assert message["To"] == world.customer.email
    assert message["From"] == "Shop <shop@example.com>"
    assert message["Message-ID"] == f"<{delivery.key}@example.com>"
    assert message.get_body(("plain",)).get_content().strip() == "Hello Ana"
    assert "<p>Hello Ana</p>" in message.get_body(("html",)).get_content()
    assert mail.peer.envelopes == [("shop@example.com", [world.customer.email])]


def test_the_stored_bytes_are_those_that_were_sent(mail: MailServer) -> None:  # INVARIANTS O3
    mail.peer.data = ["451 try later"]
    delivery = World().mail()
    deliver_batch()
    delivery.refresh_from_db()
    stored = bytes(DeliveryBody.objects.get(delivery_id=delivery.pk).body)
    assert (delivery.state, delivery.attempts) == ("QUEUED", 1)
    assert hashlib.sha256(stored).hexdigest() == delivery.request_sha256
    pass_time(120)
    deliver_batch()
    delivery.refresh_from_db()
    assert delivery.state == "SENT"
    assert mail.peer.raw[0].replace(b"\r\n", b"\n").strip() == stored.replace(b"\r\n", b"\n").strip()


def test_a_dead_server_is_tried_five_times_more(settings: Any) -> None:  # EML-03, EML-14: retries 5
    settings.ONWARD_SMTP_URL = "smtp://127.0.0.1:9"
    world = World()
    run = world.run(parked_on="timer", due_at=world.automation.created_at, seq=2)
    delivery = world.mail(run)
    for _try in range(6):
        assert deliver_batch() == 1
        pass_time(4000)
    delivery.refresh_from_db()
    run.refresh_from_db()
    assert (delivery.state, delivery.attempts, delivery.error["code"]) == ("FAILED", 6, "mail_server")
    assert (run.parked_on, run.status) == ("timer", "RUNNING")  # the run went on when it was queued
    assert [(row.flags, row.status) for row in logged(run)] == [(2, "failed")]  # late, and visible


def test_without_a_server_it_is_tried_again_later(settings: Any) -> None:
    settings.ONWARD_SMTP_URL = ""
    delivery = World().mail()
    deliver_batch()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.error["code"]) == ("QUEUED", "no_mail_server")


@pytest.mark.parametrize("address", ["", "nobody", "a b@example.com", "x@", "a@b\r\nBcc: c@d", "Ana <a@example.com>"])
def test_an_impossible_address_is_tried_once(mail: MailServer, address: str) -> None:  # ERR-10, RELIABILITY 56
    world = World()
    run = world.run()
    delivery = world.mail(run, to=address, waits=True)
    deliver_batch()
    delivery.refresh_from_db()
    run.refresh_from_db()
    assert (delivery.state, delivery.attempts, delivery.error["code"]) == ("FAILED", 1, "invalid_address")
    assert run.answer["outcome"]["code"] == "invalid_address"
    assert mail.peer.messages == []


def test_a_recipient_refused_for_good_is_tried_once(mail: MailServer) -> None:  # ERR-10
    mail.peer.rcpt = ["550 no such person"]
    delivery = World().mail()
    deliver_batch()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts, delivery.error["code"]) == ("FAILED", 1, "recipient_refused")
    assert "no such person" in delivery.error["message"]


def test_a_recipient_refused_for_now_is_tried_again(mail: MailServer) -> None:
    mail.peer.rcpt = ["450 greylisted"]
    delivery = World().mail()
    deliver_batch()
    delivery.refresh_from_db()
    assert delivery.state == "QUEUED"
    pass_time(120)
    deliver_batch()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == ("SENT", 2)


def test_a_server_that_dies_with_the_mail_leaves_it_to_a_person(mail: MailServer) -> None:  # RELIABILITY 29
    mail.peer.data = ["drop"]
    world = World()
    run = world.run()
    delivery = world.mail(run, waits=True)
    deliver_batch()
    pass_time(4000)
    deliver_batch()
    delivery.refresh_from_db()
    run.refresh_from_db()
    assert (delivery.state, delivery.attempts, mail.peer.messages) == ("REVIEW", 1, [])
    assert run.answer["outcome"]["kind"] == "unknown"
    assert Task.objects.filter(workspace=world.workspace).count() == 1


def test_a_transactional_mail_is_sent_once_more_with_its_id(mail: MailServer) -> None:  # RELIABILITY 29
    mail.peer.data = ["drop", "drop"]
    delivery = World().mail(body={"transactional": True})
    deliver_batch()
    delivery.refresh_from_db()
    assert delivery.state == "QUEUED"
    pass_time(120)
    deliver_batch()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == ("REVIEW", 2)
    outcomes = DeliveryAttempt.objects.filter(delivery=delivery).values_list("outcome", flat=True)
    assert list(outcomes) == ["unknown", "unknown"]


def test_a_lost_worker_resends_transactional_mail_only(mail: MailServer) -> None:
    world = World()
    plain, transactional = world.mail(), world.mail(body={"transactional": True})
    assert len(deliver.take(2, None)[0]) == 2
    expire_lease(plain)
    expire_lease(transactional)
    deliver_batch()
    plain.refresh_from_db()
    transactional.refresh_from_db()
    assert (plain.state, transactional.state) == ("REVIEW", "SENT")


def test_one_connection_serves_a_batch(mail: MailServer) -> None:
    world = World()
    for _ in range(12):
        world.mail()
    assert deliver_batch(threads=2) == 12
    assert len(mail.peer.messages) == 12
    assert mail.peer.connections <= 2


def test_a_kept_connection_that_died_loses_no_mail(settings: Any) -> None:
    from automations.channels import smtp

    with MailServer() as first:
        settings.ONWARD_SMTP_URL, settings.ONWARD_STARTTLS = first.url, "auto"
        port = int(first.url.rsplit(":", 1)[1])
        server = smtp.server()
        assert server is not None
        smtp.hand_over(server, "shop@example.com", "a@example.com", b"Subject: one\r\n\r\nx")
    with MailServer(port) as second:
        outcome = smtp.hand_over(server, "shop@example.com", "a@example.com", b"Subject: two\r\n\r\nx")
        assert outcome.output["answer"]
        assert [message["Subject"] for message in second.peer.messages] == ["two"]
        smtp.close_all()


def test_lines_that_begin_with_a_dot_arrive_whole(mail: MailServer) -> None:
    from automations.channels import smtp

    server = smtp.server()
    assert server is not None
    smtp.hand_over(server, "shop@example.com", "a@example.com", b"Subject: dots\r\n\r\n.\r\n..two\r\nend")
    smtp.close_all()
    assert mail.peer.messages[0].get_content().splitlines() == [".", "..two", "end"]


def test_a_mail_keeps_the_text_that_it_was_queued_with(mail: MailServer) -> None:  # DESIGN 5.3
    world = World()
    keep_texts(world.workspace.pk, ["<p>As it was, {{ customer.name }}</p>"])
    world.mail(body={"source": None, "text": text_hash("<p>As it was, {{ customer.name }}</p>")})
    deliver_batch()
    assert "As it was, Ana" in mail.peer.messages[0].get_body(("html",)).get_content()


def test_a_mail_whose_text_is_gone_fails_visibly(mail: MailServer) -> None:
    delivery = World().mail(body={"source": None, "text": "0" * 64})
    deliver_batch()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.error["code"]) == ("FAILED", "not_rendered")


def test_values_are_escaped_in_the_body(mail: MailServer) -> None:  # VAR-27
    World().mail(body={"values": {"customer": {"name": "<b>x</b>"}}})
    deliver_batch()
    assert "Hello &lt;b&gt;x&lt;/b&gt;" in mail.peer.messages[0].get_body(("html",)).get_content()


def test_a_batch_costs_a_fixed_number_of_queries(mail: MailServer) -> None:
    counts = []
    for size in (2, 6):
        world = World()
        for _ in range(size):
            world.mail()
        delivery_limit = Delivery.objects.filter(state="QUEUED").count()
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert deliver_batch(limit=delivery_limit, threads=8) == size
        counts.append(len([query for query in queries if "onward" not in query["sql"][:20]]))
    # The larger batch may settle in more than one turn, as its mails come back one by one; what it claims is one turn.
    assert counts[1] <= counts[0] + 6 * 5
    assert counts[0] < 60
