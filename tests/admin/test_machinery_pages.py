"""Pages of the tables that keep the engine going, and what any page costs (CONTRACTS 10)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from accounts import models as accounts
from accounts.clock import real_now
from accounts.models import Workspace
from automations import models as automations
from automations.services.drafts import save_draft
from billing import models as billing
from tests.admin.pages import (
    address,
    block,
    cost,
    facts,
    page_of,
    read,
    rows,
    title,
    words,
)
from tests.automations import TAGGING, WAITING, made, published, started, text
from tests.billing.helpers import make_invoice, make_subscription, payments_of
from tests.factories import actor_of, make_api_key, make_customer, make_member, make_task
from tests.worker.living import happen, settle

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]


class TestMachinery:
    def test_a_worker_says_what_it_holds(self, operator: Client) -> None:
        worker = automations.Worker.objects.create(name="host:1:x", holding=[7, 8])
        html = read(operator, page_of(worker))
        assert (title(html), facts(html)["Holds"]) == ("host:1:x", "exec_7 , exec_8")
        assert "2 runs" in words(read(operator, address(automations.Worker)))

    def test_what_keeps_somebody_out_leads_to_the_run(self, operator: Client, workspace: Workspace) -> None:
        automation = made(workspace)
        entry = automations.Entry.objects.create(workspace=workspace, automation=automation, key="customer:7", run_id=9)
        html = read(operator, page_of(entry))
        assert title(html) == f"customer:7 in {automation.name}"
        assert facts(html)["Run"] == "exec_9"

    def test_learned_fields_are_listed(self, operator: Client, workspace: Workspace) -> None:
        shape = automations.EventShape.objects.create(
            workspace=workspace, name="order", paths={"seats": "number", "name": "text"}, seen_at=real_now()
        )
        assert "name, seats" in words(read(operator, address(automations.EventShape)))
        assert "Fields name text seats number" in words(read(operator, page_of(shape)))

    def test_others_are_named_by_what_they_are(self, operator: Client, workspace: Workspace) -> None:
        automation, customer = made(workspace), make_customer(workspace)
        choice = automations.SplitChoice.objects.create(
            workspace=workspace, customer=customer, automation=automation, step="half", branch="a"
        )
        tally = automations.Tally.objects.create(
            workspace=workspace,
            automation=automation,
            version_id=1,
            step="half",
            port="a",
            day=real_now().date(),
            count=3,
        )
        part = automations.PartitionLog.objects.create(table="log", partition="log_2026_01", action="created")
        bucket = accounts.RateBucket.objects.create(caller="key_3", tokens=1, at=real_now())
        assert title(read(operator, page_of(choice))) == f"{customer}: a at half"
        assert title(read(operator, page_of(tally))) == f"{automation.name}, half a"
        assert title(read(operator, page_of(part))) == "log_2026_01 created"
        assert title(read(operator, page_of(bucket))) == "key_3"

    def test_funnels_and_their_stages(self, operator: Client, workspace: Workspace) -> None:
        customer = make_customer(workspace, stage="TRIAL", tags=["vip"])
        stage = accounts.Stage.objects.get(workspace=workspace, slug="TRIAL")
        html = read(operator, page_of(stage.funnel))
        assert [stage.slug, stage.name] in [row[:2] for row in rows(block(html, "Stages"))]
        stay = accounts.StageEntry.objects.get(customer=customer)
        assert title(read(operator, page_of(stay))) == f"{customer} in TRIAL"
        tagged = accounts.CustomerTag.objects.get(customer=customer)
        assert title(read(operator, page_of(tagged))) == f"{customer}: vip"


def customer_page(workspace: Workspace) -> tuple[str, Callable[[], None]]:
    customer = make_customer(workspace)

    def more() -> None:
        make_invoice(customer, subscription=make_subscription(customer))
        make_task(workspace, customer_id=customer.pk)
        happen(customer, "grow")
        settle()

    published(workspace, TAGGING, trigger="{type: event, event: grow}")
    return page_of(customer), more


def invoice_page(workspace: Workspace) -> tuple[str, Callable[[], None]]:
    invoice = make_invoice(make_customer(workspace), status="paid")
    [payment] = payments_of(invoice)
    numbers = iter(range(2, 100))

    def more() -> None:
        number = next(numbers)
        copy = {
            field.attname: getattr(payment, field.attname)
            for field in payment._meta.concrete_fields
            if not field.primary_key
        }
        billing.Payment.objects.create(**{**copy, "attempt": number, "settles": False, "key": f"x.exec_{number}.1.0"})

    return page_of(invoice), more


def event_page(workspace: Workspace) -> tuple[str, Callable[[], None]]:
    [run] = started(published(workspace, WAITING))

    def more() -> None:
        copy = {
            field.attname: getattr(run, field.attname) for field in run._meta.concrete_fields if not field.primary_key
        }
        other = make_customer(workspace)
        automations.Run.objects.create(**{**copy, "customer_id": other.pk, "subject_id": other.pk})

    return page_of(run.event), more


def workspace_page(workspace: Workspace) -> tuple[str, Callable[[], None]]:
    def more() -> None:
        make_member(workspace)
        make_api_key(workspace)

    return page_of(workspace), more


def automation_page(workspace: Workspace) -> tuple[str, Callable[[], None]]:
    automation = published(workspace, WAITING)

    def more() -> None:
        started(automation)
        save_draft(actor=actor_of(workspace), automation_id=automation.pk, body=text(WAITING), fmt="yaml")

    return page_of(automation), more


@pytest.mark.parametrize("make", [customer_page, invoice_page, event_page, workspace_page, automation_page])
def test_a_page_costs_the_same_however_much_belongs_to_it(
    operator: Client, workspace: Workspace, make: Callable[[Workspace], tuple[str, Callable[[], None]]]
) -> None:
    where, more = make(workspace)
    more()
    few = cost(lambda: read(operator, where))
    for _number in range(6):
        more()
    assert cost(lambda: read(operator, where)) == few
