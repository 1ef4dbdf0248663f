"""What judges the storms is able to find fault: each kind of loss and of doubling is planted once, and seen."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from django.db import connection, transaction

from accounts.clock import set_clock
from accounts.models import Task
from automations.models import Automation, Delivery, Run
from automations.worker.loop import drain
from tests.chaos.storm import Plan, Storm, _left

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def storm() -> Storm:
    return Storm(Plan(runs=6, seed=5))


def calm(storm: Storm, settings: Any) -> list[Automation]:
    """The same flow, walked by this process, with nobody killed."""
    settings.ONWARD_ALLOW_CLOCK = True
    settings.ONWARD_EGRESS_ALLOW = ("127.0.0.0/8",)
    with storm.mail, storm.hook:
        settings.ONWARD_SMTP_URL = storm.mail.url
        automations, customers = storm._install()
        storm._record(customers, list(range(6)))
        for _ in range(10):
            drain()
            if not _left():
                return automations
            set_clock("+2s")
    raise AssertionError(_left())


def execute(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def a_step_is_not_logged(storm: Storm) -> None:
    execute("DELETE FROM automations_step_log WHERE step = 'rest' AND run_id = %s", Run.objects.earliest("pk").pk)


def a_run_is_lost(storm: Storm) -> None:
    execute("UPDATE automations_run SET event_id = event_id + 1000000 WHERE id = %s", Run.objects.earliest("pk").pk)


def an_event_is_lost(storm: Storm) -> None:
    storm.acknowledged[6] = 10**9


def a_task_is_doubled(storm: Storm) -> None:
    task = Task.objects.filter(message__startswith="Call").earliest("pk")
    task.pk = None
    task.save(force_insert=True)


def a_mail_arrives_twice(storm: Storm) -> None:
    storm.mail.record.act(Delivery.objects.filter(kind="email").earliest("pk").key, b"")


def a_call_has_other_bytes(storm: Storm) -> None:
    storm.hook.record.bytes[Delivery.objects.filter(kind="http").earliest("pk").key].add("other")


def a_call_is_repeated_without_need(storm: Storm) -> None:
    key = Delivery.objects.filter(kind="http").exclude(key__in=storm.hook.record.hung_up).earliest("pk").key
    storm.hook.record.acts[key] += 1


def a_call_never_arrived(storm: Storm) -> None:
    storm.hook.record.acts[Delivery.objects.filter(kind="http", state="SENT").earliest("pk").key] = 0


def something_unknown_arrived(storm: Storm) -> None:
    storm.mail.record.acts["nobody.exec_1.1.0"] += 1


BREACHES = [
    a_step_is_not_logged, a_run_is_lost, an_event_is_lost, a_task_is_doubled, a_mail_arrives_twice, a_call_has_other_bytes,
    a_call_is_repeated_without_need, a_call_never_arrived, something_unknown_arrived,
]  # fmt: skip


def test_each_planted_breach_is_seen(storm: Storm, settings: Any) -> None:
    automations = calm(storm, settings)
    storm._judge(automations)
    for plant in BREACHES:
        kept = copy.deepcopy(
            (storm.acknowledged, storm.mail.record.acts, storm.hook.record.acts, storm.hook.record.bytes)
        )
        kept_mail = copy.deepcopy(storm.mail.record.bytes)
        with transaction.atomic():
            plant(storm)
            with pytest.raises(AssertionError):
                storm._judge(automations)
            transaction.set_rollback(True)
        storm.acknowledged, storm.mail.record.acts, storm.hook.record.acts, storm.hook.record.bytes = kept
        storm.mail.record.bytes = kept_mail
    storm._judge(automations)  # all of them were taken back
