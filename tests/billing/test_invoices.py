"""Invoices change their state along the one table, and say so once (BIL-01 to BIL-05, TRG-04 to TRG-06)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.actor import Actor, system_actor
from accounts.clock import evaluation_now
from accounts.errors import Refusal
from accounts.models import Audit, Customer
from billing.models import Invoice
from billing.services.drafts import NewLine, create_invoice
from billing.services.invoices import (
    InvoiceRequest,
    finalize_invoice,
    mark_uncollectible,
    update_invoice,
    void_invoice,
    void_invoices,
)
from billing.services.payments import pay_invoice, record_payment
from tests.billing.helpers import (
    events_of,
    last_event,
    make_buyer,
    make_invoice,
    make_subscription,
    names_of,
    reload,
    trigger_of,
)
from tests.factories import actor_of, make_workspace

pytestmark = pytest.mark.django_db

Verb = Callable[..., Any]
VERBS: dict[str, Verb] = {
    "finalize": finalize_invoice,
    "pay": pay_invoice,
    "void": void_invoice,
    "mark_uncollectible": mark_uncollectible,
}
#: BIL-03: from, verb, to. Whatever is not here is forbidden.
WAYS = {
    ("draft", "finalize"): "open",
    ("open", "pay"): "paid",
    ("open", "void"): "void",
    ("open", "mark_uncollectible"): "uncollectible",
    ("uncollectible", "pay"): "paid",
    ("uncollectible", "void"): "void",
}
STATUSES = ["draft", "open", "paid", "void", "uncollectible"]


@pytest.fixture
def buyer() -> Customer:
    return make_buyer()


@pytest.fixture
def actor(buyer: Customer) -> Actor:
    return actor_of(buyer.workspace)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("status", STATUSES)
def test_every_way_between_two_statuses_is_allowed_or_refused_as_the_table_says(
    buyer: Customer, actor: Actor, status: str, verb: str
) -> None:
    invoice = make_invoice(buyer, status=status)
    before = len(events_of(buyer.workspace))
    target = WAYS.get((status, verb))
    if target is None:
        with pytest.raises(Refusal) as refused:
            VERBS[verb](actor=actor, invoice_id=invoice.pk)
        assert refused.value.code == "wrong_state"
        assert invoice.public_id in refused.value.message
        assert reload(invoice).status == status
        assert len(events_of(buyer.workspace)) == before  # nothing half-written
    else:
        VERBS[verb](actor=actor, invoice_id=invoice.pk)
        assert reload(invoice).status == target
        assert len(events_of(buyer.workspace)) > before


def test_finalising_gives_number_and_time_and_emits_issued_once(
    buyer: Customer, actor: Actor
) -> None:  # TRG-04, BIL-05
    draft = make_invoice(buyer, status="draft")
    assert names_of(buyer.workspace) == []
    invoice = finalize_invoice(actor=actor, invoice_id=draft.pk)
    assert invoice.number == "INV-0001"
    assert invoice.finalized_at is not None
    event = last_event(buyer.workspace, "invoice.issued")
    assert event.key == f"{invoice.public_id}:issued"
    assert event.subjects == {"customer": buyer.pk, "invoice": invoice.pk}
    assert names_of(buyer.workspace) == ["invoice.issued"]


def test_numbers_of_a_workspace_have_no_gaps(buyer: Customer, actor: Actor) -> None:
    drafts = [make_invoice(buyer, status="draft") for _ in range(3)]
    finalize_invoice(actor=actor, invoice_id=drafts[0].pk)
    with pytest.raises(Refusal):
        finalize_invoice(actor=actor, invoice_id=drafts[0].pk)
    assert finalize_invoice(actor=actor, invoice_id=drafts[2].pk).number == "INV-0002"
    other = make_invoice(make_buyer())
    assert other.number == "INV-0001"  # each workspace counts for itself


def test_amounts_of_an_issued_invoice_are_fixed(buyer: Customer, actor: Actor) -> None:  # BIL-05
    invoice = make_invoice(buyer)
    update_invoice(actor=actor, invoice_id=invoice.pk, metadata={"po": "4711"})
    assert reload(invoice).total == 12900
    with pytest.raises(TypeError):
        update_invoice(actor=actor, invoice_id=invoice.pk, total="1.00")  # type: ignore[call-arg]  # there is no such way


def test_an_invoice_over_nothing_is_paid_when_it_is_issued(buyer: Customer, actor: Actor) -> None:
    lines = [NewLine("Plan", "10.00"), NewLine("Goodwill", "-10.00")]
    invoice = make_invoice(buyer, lines=lines)
    assert (invoice.status, invoice.total) == ("paid", 0)
    assert names_of(buyer.workspace) == ["invoice.issued", "invoice.paid"]


def test_a_sent_invoice_without_due_date_is_due_after_thirty_days(buyer: Customer) -> None:  # BIL-04
    invoice = make_invoice(buyer, collection_method="send_invoice")
    assert invoice.due_at is not None
    assert (invoice.due_at - evaluation_now()).days in (29, 30)
    assert make_invoice(buyer).due_at is None  # one that is charged needs none


def test_the_workspace_may_set_its_own_days_until_due(buyer: Customer) -> None:
    buyer.workspace.defaults = {"billing": {"daysUntilDue": 14}}
    buyer.workspace.save()
    invoice = make_invoice(buyer, collection_method="send_invoice")
    assert invoice.due_at is not None
    assert (invoice.due_at - evaluation_now()).days in (13, 14)


def test_a_due_date_is_the_end_of_that_day_where_the_workspace_is() -> None:
    workspace = make_workspace(time_zone="America/New_York")
    invoice = make_invoice(make_buyer(workspace), due=date(2027, 1, 31), status="draft")
    assert invoice.due_at == datetime(2027, 2, 1, 4, 59, 59, 999999, tzinfo=UTC)


def test_marking_uncollectible_and_voiding_turn_collection_off(buyer: Customer) -> None:  # BIL-02
    for status in ("paid", "void", "uncollectible"):
        assert make_invoice(buyer, status=status).auto_advance is False


def test_changes_of_an_invoice_are_emitted_each_under_its_own_key(buyer: Customer, actor: Actor) -> None:
    invoice = make_invoice(buyer)
    update_invoice(actor=actor, invoice_id=invoice.pk, metadata={"po": "1"})
    update_invoice(actor=actor, invoice_id=invoice.pk, metadata={"po": "2"})
    update_invoice(actor=actor, invoice_id=invoice.pk, metadata={"po": "2"})  # changes nothing
    keys = [event.key for event in events_of(buyer.workspace) if event.name == "invoice.updated"]
    assert len(keys) == len(set(keys)) == 2


def test_metadata_is_merged_and_null_removes(buyer: Customer, actor: Actor) -> None:  # BIL-10
    invoice = make_invoice(buyer, metadata={"a": "1", "b": "2"})
    update_invoice(actor=actor, invoice_id=invoice.pk, metadata={"b": None, "c": "3"})
    assert reload(invoice).metadata == {"a": "1", "c": "3"}
    update_invoice(actor=actor, invoice_id=invoice.pk, metadata=None)
    assert reload(invoice).metadata == {}


@pytest.mark.parametrize(
    "metadata", [{"x" * 41: "1"}, {"a[0]": "1"}, {"a": "x" * 501}, {f"k{n}": "v" for n in range(51)}, ["a"], {"a": {}}]
)
def test_metadata_beyond_the_limits_is_refused(buyer: Customer, actor: Actor, metadata: Any) -> None:  # BIL-10
    invoice = make_invoice(buyer)
    with pytest.raises(Refusal) as refused:
        update_invoice(actor=actor, invoice_id=invoice.pk, metadata=metadata)
    assert refused.value.code == "invalid"
    assert reload(invoice).metadata == {}


def test_collection_can_be_turned_off_while_open_and_not_changed_when_final(
    buyer: Customer, actor: Actor
) -> None:  # BIL-02
    invoice = make_invoice(buyer)
    update_invoice(actor=actor, invoice_id=invoice.pk, auto_advance=False)
    assert reload(invoice).auto_advance is False
    assert last_event(buyer.workspace, "invoice.updated").subjects["invoice"] == invoice.pk
    paid = make_invoice(buyer, status="paid")
    with pytest.raises(Refusal, match="drafts and open invoices"):
        update_invoice(actor=actor, invoice_id=paid.pk, auto_advance=True)
    update_invoice(actor=actor, invoice_id=paid.pk, metadata={"note": "kept"})  # metadata always may
    assert reload(paid).metadata == {"note": "kept"}


def test_the_object_remembers_which_run_changed_it(buyer: Customer, actor: Actor) -> None:  # C-12
    invoice = make_invoice(buyer)
    update_invoice(actor=system_actor(buyer.workspace_id, run_id=77), invoice_id=invoice.pk, auto_advance=False)
    assert reload(invoice).changed_by_run == 77
    assert last_event(buyer.workspace, "invoice.updated").cause_run == 77
    update_invoice(actor=actor, invoice_id=invoice.pk, metadata={"note": "later"})  # no change of state or collection
    assert reload(invoice).changed_by_run == 77
    void_invoice(actor=actor, invoice_id=invoice.pk)
    assert reload(invoice).changed_by_run is None


def test_many_are_voided_at_once_and_each_is_answered(
    buyer: Customer, django_assert_max_num_queries: Any
) -> None:  # ACT-06
    good = [make_invoice(buyer, subscription=make_subscription(buyer)) for _ in range(5)]
    paid = make_invoice(buyer, status="paid")
    strange = make_invoice(make_buyer())
    asked = [InvoiceRequest(system_actor(buyer.workspace_id, 5), row.pk) for row in [*good, paid, strange]]
    with django_assert_max_num_queries(45):
        answers = void_invoices(asked)
    assert [isinstance(answer, Invoice) for answer in answers] == [True] * 5 + [False, False]
    assert [answer.code for answer in answers[5:] if isinstance(answer, Refusal)] == ["wrong_state", "not_found"]
    assert names_of(buyer.workspace).count("invoice.voided") == 5
    assert {row.cause_run for row in events_of(buyer.workspace) if row.name == "invoice.voided"} == {5}
    assert reload(strange).status == "open"


def test_voiding_many_costs_no_more_statements_than_voiding_few(buyer: Customer) -> None:
    def statements(count: int) -> int:
        rows = [make_invoice(buyer, subscription=make_subscription(buyer)) for _ in range(count)]
        with CaptureQueriesContext(connection) as captured:
            void_invoices([InvoiceRequest(system_actor(buyer.workspace_id, 5), row.pk) for row in rows])
        return len(captured)

    assert statements(2) == statements(12)


def test_the_same_invoice_twice_in_one_call_is_voided_once(buyer: Customer) -> None:
    invoice = make_invoice(buyer)
    request = InvoiceRequest(system_actor(buyer.workspace_id), invoice.pk)
    first, second = void_invoices([request, request])
    assert isinstance(first, Invoice)
    assert isinstance(second, Refusal)
    assert names_of(buyer.workspace).count("invoice.voided") == 1


def test_snapshots_show_the_objects_as_they_were(buyer: Customer, actor: Actor) -> None:  # VAR-25
    invoice = make_invoice(buyer, subscription=make_subscription(buyer))
    pay_invoice(actor=actor, invoice_id=invoice.pk)
    issued = trigger_of(last_event(buyer.workspace, "invoice.issued"))
    paid = trigger_of(last_event(buyer.workspace, "invoice.paid"))
    assert issued["invoice"]["status"].stored == "open"
    assert paid["invoice"]["status"] == paid["status"] == "paid"
    assert issued["total"] == "129.00"
    assert issued["customer"]["email"] == buyer.email
    assert issued["subscription"]["status"] == "active"
    assert issued["accountOwner"]


def test_people_are_audited_and_runs_are_not(buyer: Customer, actor: Actor) -> None:
    invoice = make_invoice(buyer)
    void_invoice(actor=actor, invoice_id=invoice.pk)
    row = Audit.objects.get(workspace=buyer.workspace, action="invoice.void")
    assert (row.object, row.before, row.after) == (invoice.public_id, {"status": "open"}, {"status": "void"})
    other = make_invoice(buyer)
    void_invoices([InvoiceRequest(system_actor(buyer.workspace_id, 9), other.pk)])
    assert Audit.objects.filter(action="invoice.void").count() == 1


def test_a_viewer_may_change_nothing(buyer: Customer) -> None:
    invoice = make_invoice(buyer)
    viewer = actor_of(buyer.workspace, "viewer")
    for verb in (finalize_invoice, void_invoice, mark_uncollectible, pay_invoice, update_invoice):
        with pytest.raises(Refusal, match="role"):
            verb(actor=viewer, invoice_id=invoice.pk)
    assert reload(invoice).status == "open"


def test_a_foreign_invoice_is_not_found(buyer: Customer) -> None:
    invoice = make_invoice(buyer)
    stranger = actor_of(make_workspace())
    for verb in (finalize_invoice, void_invoice, mark_uncollectible, pay_invoice, update_invoice):
        with pytest.raises(Refusal) as refused:
            verb(actor=stranger, invoice_id=invoice.pk)
        assert refused.value.code == "not_found"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"lines": [NewLine("Refund", "-1.00")]}, "lines"),
        ({"lines": [NewLine("", "1.00")]}, "lines[0].description"),
        ({"lines": [NewLine("Plan", "1.005")]}, "lines[0].amount"),
        ({"lines": [NewLine("Plan", "1.00", quantity=0)]}, "lines[0].quantity"),
        ({"lines": [NewLine("Plan", "1.00")] * 251}, "lines"),
        ({"currency": "EURO"}, "currency"),
        ({"collection_method": "carrier_pigeon"}, "collectionMethod"),
        ({"external_id": "x" * 201}, "externalId"),
    ],
)
def test_a_draft_that_makes_no_sense_is_refused(
    buyer: Customer, actor: Actor, fields: dict[str, Any], field: str
) -> None:
    given = {"currency": "EUR", "lines": [NewLine("Plan", "1.00")], **fields}
    with pytest.raises(Refusal) as refused:
        create_invoice(actor=actor, customer_id=buyer.pk, **given)
    assert refused.value.details["fields"].keys() == {field}
    assert not Invoice.objects.exists()


def test_an_invoice_needs_at_least_one_line(buyer: Customer, actor: Actor) -> None:
    with pytest.raises(Refusal, match="1 to 250 lines"):
        create_invoice(actor=actor, customer_id=buyer.pk, currency="EUR", lines=[])


def test_references_of_another_workspace_or_customer_are_refused(buyer: Customer, actor: Actor) -> None:
    foreign, other = make_subscription(make_buyer()), make_subscription(make_buyer(buyer.workspace))
    given: dict[str, Any] = {
        "actor": actor,
        "customer_id": buyer.pk,
        "currency": "EUR",
        "lines": [NewLine("Plan", "1.00")],
    }
    with pytest.raises(Refusal, match="no subscription"):
        create_invoice(**given, subscription_id=foreign.pk)
    with pytest.raises(Refusal, match="another customer"):
        create_invoice(**given, subscription_id=other.pk)
    with pytest.raises(Refusal, match="no product"):
        create_invoice(**{**given, "lines": [NewLine("Plan", "1.00", product_id=foreign.items.get().price.product_id)]})


def test_an_external_id_names_one_invoice(buyer: Customer, actor: Actor) -> None:
    make_invoice(buyer, external_id="A-17")
    with pytest.raises(Refusal) as refused:
        make_invoice(buyer, external_id="A-17")
    assert refused.value.code == "conflict"
    make_invoice(make_buyer(), external_id="A-17")  # another workspace has its own


@pytest.mark.parametrize(
    "change",
    [
        {"status": "paid"},
        {"status": "void"},
        {"status": "draft"},
        {"amount_paid": 12901},
        {"amount_paid": -1},
        {"amount_paid": 12900},
        {"failed_count": 1},
        {"currency": "eur"},
        {"collection_method": "other"},
        {"number": ""},
        {"overdue_at": datetime(2026, 1, 1, tzinfo=UTC)},
        {"status": "uncollectible", "marked_uncollectible_at": datetime(2026, 1, 1, tzinfo=UTC)},
    ],
)
def test_the_database_refuses_what_the_services_would_not_write(buyer: Customer, change: dict[str, Any]) -> None:
    invoice = make_invoice(buyer)
    with pytest.raises(IntegrityError), transaction.atomic():
        Invoice.objects.filter(pk=invoice.pk).update(**change)


def test_a_due_date_moved_ahead_takes_overdue_back(buyer: Customer, actor: Actor) -> None:  # BIL-04
    now = evaluation_now()
    invoice = make_invoice(buyer, due=now - timedelta(days=1))
    Invoice.objects.filter(pk=invoice.pk).update(overdue_at=now)
    update_invoice(actor=actor, invoice_id=invoice.pk, due_at=now + timedelta(days=3))
    assert reload(invoice).overdue_at is None


def test_a_payment_of_nothing_left_is_refused(buyer: Customer, actor: Actor) -> None:
    invoice = make_invoice(buyer, status="paid")
    with pytest.raises(Refusal, match="nothing is to be paid"):
        record_payment(actor=actor, invoice_id=invoice.pk, status="failed")
