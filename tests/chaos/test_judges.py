"""What judges the storms is able to find fault: each kind of loss and of doubling is planted once, and seen."""

from __future__ import annotations

import copy
import random
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from accounts.clock import set_clock
from accounts.models import Task
from automations.engine.registry import registry
from automations.models import Delivery, Run
from automations.services.events import NewEvent, record_events
from automations.worker.loop import drain
from tests.chaos.money import PeerCharge
from tests.chaos.nemesis import Plan
from tests.chaos.peers import Receiver, Record
from tests.chaos.storm import Storm, remains

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def storm() -> Iterator[Storm]:
    registry.actions[PeerCharge.key] = PeerCharge()
    yield Storm(Plan(runs=6, seed=5, waits="1h"))
    del registry.actions[PeerCharge.key]


def record(storm: Storm, *signs: tuple[str, int]) -> None:
    """Say it without a web server in between."""
    for name, number in signs:
        customer = storm.customers[number]
        event = NewEvent(
            customer.workspace_id, name, "api", f"{name}-{number}", {"customer": customer.pk}, {"number": number}
        )
        storm.told.hear((name, number), record_events([event])[0].id)


def calm(storm: Storm, settings: Any) -> None:
    """The same flows, walked by this process, with nobody killed."""
    settings.ONWARD_ALLOW_CLOCK = True
    settings.ONWARD_EGRESS_ALLOW = ("127.0.0.0/8",)
    with storm.mail, storm.hook, storm.payments:
        settings.ONWARD_SMTP_URL = storm.mail.url
        storm.install()
        record(storm, *(("sign", number) for number in range(6)), ("order", 0), ("order", 5))
        drain()
        record(storm, ("paid", 0), ("sign", 1))
        for place in range(40):
            drain()
            if not remains():
                storm.told.left[storm.customers[9].pk] = time.time()
                return
            set_clock("+2s" if place < 5 else "+21m")
    raise AssertionError(remains())


def execute(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def records(storm: Storm) -> list[Record]:
    return [storm.mail.record, storm.hook.record, storm.payments.record]


def first(kind: str) -> Delivery:
    return Delivery.objects.filter(kind=kind, state="SENT").earliest("pk")


def a_step_is_not_logged(storm: Storm) -> None:
    execute("DELETE FROM automations_step_log WHERE step = 'rest' AND run_id = %s", Run.objects.earliest("pk").pk)


def a_run_is_lost(storm: Storm) -> None:
    execute("UPDATE automations_run SET event_id = event_id + 1000000 WHERE id = %s", Run.objects.earliest("pk").pk)


def an_event_is_lost(storm: Storm) -> None:
    storm.told.events["sign", 6] = 10**9


def an_order_is_lost(storm: Storm) -> None:
    storm.told.events["order", 10] = 10**9


def an_event_changes_its_id(storm: Storm) -> None:
    storm.told.hear(("sign", 1), 10**9)


def a_task_is_doubled(storm: Storm) -> None:
    task = Task.objects.filter(message__startswith="Call").earliest("pk")
    task.pk = None
    task.save(force_insert=True)


def an_order_is_answered_twice(storm: Storm) -> None:
    task = Task.objects.filter(message__startswith="Paid").earliest("pk")
    task.pk, task.message = None, "Unpaid 0"
    task.save(force_insert=True)


def a_payment_is_overlooked(storm: Storm) -> None:
    run = Run.objects.get(automation__in=storm.waits, customer_id=storm.customers[0].pk)
    Task.objects.filter(run_id=run.pk).update(message="Unpaid 0")


def a_quick_order_is_answered_twice(storm: Storm) -> None:
    execute(
        "INSERT INTO automations_step_log SELECT (json_populate_record(l, json_build_object('seq', l.seq + 1, 'step', 'no'))).* "
        "FROM automations_step_log l WHERE step = 'yes' AND run_id = %s", quick_run(storm).pk
    )  # fmt: skip


def a_quick_payment_is_overlooked(storm: Storm) -> None:
    run = quick_run(storm).pk
    execute("UPDATE automations_step_log SET step = 'no' WHERE step = 'yes' AND run_id = %s", run)
    execute(
        "UPDATE automations_step_log SET ended_at = ended_at + interval '1 hour' WHERE step = 'hear' AND run_id = %s",
        run,
    )


def a_quick_run_is_doubled(storm: Storm) -> None:
    other = Run.objects.filter(automation__in=storm.quick).exclude(pk=quick_run(storm).pk).get()
    Run.objects.filter(pk=quick_run(storm).pk).update(event_id=other.event_id)


def quick_run(storm: Storm) -> Run:
    return Run.objects.get(automation__in=storm.quick, customer_id=storm.customers[0].pk)


def a_mail_arrives_twice(storm: Storm) -> None:
    storm.mail.record.acts[first("email").key] += 1


def a_mail_arrives_under_two_keys(storm: Storm) -> None:
    key = first("email").key
    other = next(found for found in storm.mail.record.said if found != key)
    storm.mail.record.said[other] = storm.mail.record.said[key]


def a_call_arrives_under_two_keys(storm: Storm) -> None:
    key = first("http").key
    other = next(found for found in storm.hook.record.said if found != key)
    storm.hook.record.said[other] = storm.hook.record.said[key]


def somebody_is_charged_twice(storm: Storm) -> None:
    storm.payments.charged[3] += 1


def a_charge_was_never_made(storm: Storm) -> None:
    del storm.payments.charged[3]


def a_call_has_other_bytes(storm: Storm) -> None:
    storm.hook.record.bytes[first("http").key].add("other")


def a_call_is_repeated_without_need(storm: Storm) -> None:
    key = Delivery.objects.filter(kind="http").exclude(key__in=storm.hook.record.hung_up).earliest("pk").key
    storm.hook.record.acts[key] += 1


def a_call_never_arrived(storm: Storm) -> None:
    storm.hook.record.acts[first("http").key] = 0


def something_unknown_arrived(storm: Storm) -> None:
    storm.mail.record.acts["nobody.exec_1.1.0"] += 1


def a_run_speaks_for_another_version(storm: Storm) -> None:
    key = Delivery.objects.filter(kind="email", state="SENT", run__automation__in=storm.flows).earliest("pk").key
    to, subject = storm.mail.record.said[key]
    storm.mail.record.said[key] = to, subject.replace(" v 1", " v 2")


def somebody_who_left_is_written_to(storm: Storm) -> None:
    delivery = first("email")
    Run.objects.filter(pk=delivery.run_id).update(customer_id=storm.customers[9].pk)
    Delivery.objects.filter(pk=delivery.pk).update(customer_id=storm.customers[9].pk)
    assert delivery.sending_at is not None
    storm.told.left[storm.customers[9].pk] = delivery.sending_at.timestamp() - 1


def an_answer_is_a_fault(storm: Storm) -> None:
    storm.told.note("500", "POST /events: 500")


BREACHES = [
    a_step_is_not_logged, a_run_is_lost, an_event_is_lost, an_order_is_lost, an_event_changes_its_id, a_task_is_doubled,
    an_order_is_answered_twice, a_payment_is_overlooked, a_quick_order_is_answered_twice, a_quick_payment_is_overlooked,
    a_quick_run_is_doubled, a_mail_arrives_twice, a_mail_arrives_under_two_keys,
    a_call_arrives_under_two_keys, somebody_is_charged_twice, a_charge_was_never_made, a_call_has_other_bytes,
    a_call_is_repeated_without_need, a_call_never_arrived, something_unknown_arrived, a_run_speaks_for_another_version,
    somebody_who_left_is_written_to, an_answer_is_a_fault,
]  # fmt: skip


def kept(storm: Storm) -> list[Any]:
    """What is known outside, as it is now."""
    told = storm.told
    facts = [told.events, told.left, told.wrong, storm.payments.charged]
    for found in records(storm):
        facts += [found.acts, found.bytes, found.said]
    return copy.deepcopy(facts)


def restore(storm: Storm, facts: list[Any]) -> None:
    told = storm.told
    told.events, told.left, told.wrong, storm.payments.charged, *others = facts
    for place, found in enumerate(records(storm)):
        found.acts, found.bytes, found.said = others[3 * place : 3 * place + 3]


def sees(storm: Storm) -> bool:
    try:
        storm.judge().judge()
    except AssertionError:
        return True
    return False


def test_each_planted_breach_is_seen(storm: Storm, settings: Any) -> None:
    calm(storm, settings)
    storm.judge().judge()
    assert storm.figures["waits"] == storm.figures["quick waits"] == {"woken": 1, "timed out": 1}
    assert storm.figures["walked at once"] == 2
    for plant in BREACHES:
        facts = kept(storm)
        with transaction.atomic():
            plant(storm)
            assert sees(storm), f"{plant.__name__} was not seen"
            transaction.set_rollback(True)
        restore(storm, facts)
    storm.judge().judge()  # all of them were taken back


def test_a_call_whose_sender_died_in_the_middle_is_no_act() -> None:
    with Receiver(random.Random(1)) as receiver, socket.create_connection(("127.0.0.1", receiver.port)) as line:
        line.sendall(b"POST /hook HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nContent-Length: 10\r\n\r\nhalf")
        line.shutdown(socket.SHUT_WR)
        assert line.recv(100) == b""
        assert not receiver.record.acts
