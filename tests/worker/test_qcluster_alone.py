"""Where nothing runs but django-q2's cluster, its schedules alone walk the quick start to its end (CRN-01 to 09, DESIGN 5.4).

The cluster is a process of its own, with wake-ups and ticker off, and there is no `work`. Its scheduler looks at the schedules every
thirty seconds; here it is called whenever they are made due, so that the test need not wait for it.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.utils import timezone
from django_q.models import Failure, OrmQ, Schedule, Task
from django_q.scheduler import scheduler

from accounts.clock import set_clock
from accounts.models import Customer, Workspace
from automations.doctor.run import examine
from automations.models import Automation, Delivery, Run
from billing.models import Invoice
from billing.services.payments import record_payment
from config.queue import keep_schedules
from tests.billing.helpers import make_card, make_invoice, make_subscription, reload
from tests.chaos.peers import Mailbox
from tests.factories import actor_of, make_customer, make_workspace
from tests.worker.living import live, steps_of, the_run

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60
NAMES = ["onward.housekeeping", "onward.mail", "onward.pass", "onward.sweep"]


@pytest.fixture
def mail() -> Iterator[Mailbox]:
    with Mailbox(random.Random(1)) as mailbox:
        yield mailbox


@pytest.fixture
def cluster(database_url: str, mail: Mailbox, settings: Any) -> Iterator[subprocess.Popen[bytes]]:
    """`manage.py qcluster` on the test's database, its pool at work."""
    settings.ONWARD_WAKE = settings.ONWARD_TICKER = False
    settings.ONWARD_ALLOW_CLOCK = True
    environment = os.environ | {
        "DATABASE_URL": database_url, "ONWARD_DEBUG": "1", "ONWARD_WAKE": "0", "ONWARD_TICKER": "0",
        "ONWARD_ALLOW_CLOCK": "1", "ONWARD_SMTP_URL": mail.url,
    }  # fmt: skip
    command = [sys.executable, str(ROOT / "manage.py"), "qcluster"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        until(lambda: len(psutil.Process(process.pid).children(recursive=True)) >= 5)
        yield process
        assert process.poll() is None, "the cluster ended by itself"
    finally:
        process.terminate()
        process.wait(SECONDS)


def until(holds: Callable[[], bool]) -> None:
    """Wait for what another process does; fails when it does not."""
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def tick(until_holds: Callable[[], bool]) -> None:
    """Make the schedules due, again and again, until what they are to bring about is there."""
    end = time.monotonic() + SECONDS
    while not until_holds():
        assert time.monotonic() < end, "the schedules alone did not bring it about"
        Schedule.objects.filter(name__in=NAMES).update(next_run=timezone.now())
        scheduler()
        until(lambda: not OrmQ.objects.exists())


def lose_the_queue() -> None:
    """As if somebody had emptied its tables: first with the tasks of all schedules in it, then the schedules themselves; the next
    start of a cluster brings these back."""
    Schedule.objects.filter(name__in=NAMES).update(next_run=timezone.now())
    scheduler()
    OrmQ.objects.all().delete()
    Task.objects.all().delete()
    Schedule.objects.all().delete()
    keep_schedules()


def quick_start(workspace: Workspace) -> tuple[Automation, Customer, Invoice]:
    """The shipped text, and an invoice whose payment fails."""
    automation = live(workspace, (ROOT / "docs/samples/quick-start.yaml").read_text())
    buyer = make_customer(workspace)
    make_card(buyer, "card_ok")
    invoice = make_invoice(buyer, subscription=make_subscription(buyer))
    record_payment(actor=actor_of(workspace), invoice_id=invoice.pk, status="failed")
    return automation, buyer, invoice


def schedules() -> list[str]:
    return sorted(Schedule.objects.values_list("name", flat=True))


@pytest.mark.parametrize("losing", [False, True], ids=["kept", "queue tables emptied at every stage"])
def test_the_schedules_alone_walk_the_quick_start(
    cluster: subprocess.Popen[bytes], mail: Mailbox, losing: bool
) -> None:
    lose = lose_the_queue if losing else lambda: None
    automation, _buyer, invoice = quick_start(make_workspace())
    lose()
    tick(lambda: Run.objects.filter(automation=automation, parked_on="timer").exists())
    lose()
    tick(lambda: mail.record.acts.total() == 1)
    tick(lambda: Delivery.objects.get(kind="email").state == "SENT")
    lose()
    assert steps_of(the_run(automation)) == ["condition", "send_email"]
    set_clock("+3d")
    lose()
    tick(lambda: bool(reload(invoice).status == "paid"))
    lose()
    tick(lambda: the_run(automation).ended_at is not None)
    assert the_run(automation).status == "COMPLETED"
    assert steps_of(the_run(automation))[-1] == "retry_payment"
    assert mail.record.acts.total() == 1
    assert not Failure.objects.exists()
    assert schedules() == NAMES
    assert [finding.as_json() for finding in examine(at_rest=True)] == []


def test_a_second_start_makes_no_second_set(cluster: subprocess.Popen[bytes]) -> None:
    before = dict(Schedule.objects.values_list("name", "pk"))
    keep_schedules()
    assert schedules() == NAMES
    assert dict(Schedule.objects.values_list("name", "pk")) == before
    Schedule.objects.create(
        name="onward.pass", func="automations.tasks.automation_pass", schedule_type="C", cron="* * * * *"
    )
    keep_schedules()
    assert schedules() == NAMES
