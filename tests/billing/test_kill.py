"""Workers that charge are killed at any moment: every invoice is paid, none is charged twice (DESIGN 5.3, RELIABILITY)."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from automations.models import Delivery, Run
from automations.worker.deliver import act, deliver_batch, take
from billing.models import Invoice, Payment
from billing.models import TestCharge as Booked
from billing.services.payments import record_payment
from tests.billing.helpers import make_buyer, make_card, make_invoice
from tests.factories import actor_of, make_customer, make_workspace
from tests.worker.living import live, settle

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parent.parent.parent
COUNT = 60
TEXT = """
trigger: {type: event, event: payment.failed}
steps:
  - {id: again, type: action, action: retry_payment}
"""


@pytest.fixture
def worker(database_url: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that the test started; whatever is left of them is ended with it."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait(timeout=10)


def start(database_url: str) -> subprocess.Popen[bytes]:
    """A worker process on the test database, as production starts it."""
    environment = {**os.environ, "DATABASE_URL": database_url, "ONWARD_ALLOW_CLOCK": "1"}
    command = [sys.executable, "manage.py", "work", "--until-idle", "--processes", "1"]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def expire_leases() -> None:
    """Leases run in real time; the killed worker's are over at once, as if the test had waited for them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "update automations_delivery set lease_until = clock_timestamp() - interval '1 second', due_at = onward_now()"
            " where state = 'SENDING'"
        )


def test_killed_workers_charge_every_invoice_exactly_once(
    database_url: str, worker: list[subprocess.Popen[bytes]]
) -> None:
    workspace = make_workspace()
    live(workspace, TEXT)
    actor = actor_of(workspace)
    for _ in range(COUNT):
        buyer = make_customer(workspace)
        make_card(buyer)
        record_payment(actor=actor, invoice_id=make_invoice(buyer).pk, status="failed")
    settle(deliver=False)  # all charges are queued, none is made
    assert Delivery.objects.filter(state="QUEUED").count() == COUNT
    chance = random.Random(20261121)
    for _ in range(2):  # at the third death over one delivery a person has to look at it
        process = start(database_url)
        worker.append(process)
        before = Booked.objects.count()
        deadline = time.monotonic() + 30
        while process.poll() is None and Booked.objects.count() < before + 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(chance.random() * 0.02)
        process.kill()
        process.wait(timeout=10)
        expire_leases()
    killed_at = Booked.objects.count()
    settle(deliver=True)
    assert Counter(Invoice.objects.values_list("status", flat=True)) == {"paid": COUNT}
    assert Counter(Run.objects.values_list("status", flat=True)) == {"COMPLETED": COUNT}
    assert Counter(Payment.objects.values_list("status", flat=True)) == {"failed": COUNT, "succeeded": COUNT}
    assert Booked.objects.count() == COUNT
    assert set(Counter(Booked.objects.values_list("invoice", flat=True)).values()) == {1}
    assert 0 < killed_at < COUNT  # otherwise no worker was killed in the middle


def test_a_worker_that_dies_between_charge_and_settlement_leaves_it_to_the_next(database_url: str) -> None:
    buyer = make_buyer()
    make_card(buyer)
    live(buyer.workspace, TEXT)
    invoice = make_invoice(buyer)
    record_payment(actor=actor_of(buyer.workspace), invoice_id=invoice.pk, status="failed")
    settle(deliver=False)
    jobs = take(1, None).jobs
    act(jobs[0])  # charged; then the worker is gone
    assert Booked.objects.count() == 1
    assert Invoice.objects.get(pk=invoice.pk).status == "open"
    expire_leases()
    while deliver_batch(threads=1):
        pass
    settle(deliver=True)
    assert Invoice.objects.get(pk=invoice.pk).status == "paid"
    assert Booked.objects.count() == 1
    assert Delivery.objects.get().attempts == 2
