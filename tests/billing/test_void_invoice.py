"""The action void_invoice: one failure stays one run's failure (ACT-06)."""

from __future__ import annotations

import pytest
from django.db import transaction

from automations.engine.kinds import Request
from automations.engine.outcomes import Done, Failed
from billing.actions.void_invoice import VoidInvoiceConfig, action
from billing.models import Invoice
from tests.billing.acting import NOW, scope_of
from tests.billing.helpers import last_event, make_buyer, make_invoice, reload

pytestmark = pytest.mark.django_db


def request_for(invoice: Invoice, run_id: int = 456) -> Request:
    return Request(
        subjects={"invoice": invoice.pk},
        input={},
        data={"invoice": invoice.pk},
        workspace_id=invoice.workspace_id,
        run_id=run_id,
    )


@transaction.atomic
def apply(*requests: Request) -> list[object]:
    return list(action.apply(requests, NOW))


def test_an_open_invoice_is_voided_by_the_run() -> None:  # ACT-06
    buyer = make_buyer()
    invoice = make_invoice(buyer)
    (outcome,) = apply(request_for(invoice))
    assert outcome == Done({"invoice": invoice.public_id, "status": "void", "number": invoice.number})
    assert action.Output.model_validate(outcome.output)
    assert (reload(invoice).status, reload(invoice).changed_by_run) == ("void", 456)
    assert last_event(buyer.workspace, "invoice.voided").cause_run == 456


def test_a_paid_invoice_fails_with_a_clear_error_and_leaves_the_others_alone() -> None:  # ACT-06
    buyer, other = make_buyer(), make_buyer()
    paid, open_one = make_invoice(buyer, status="paid"), make_invoice(other)
    failed, done = apply(request_for(paid), request_for(open_one, 7))
    assert isinstance(failed, Failed)
    assert failed.code == "wrong_state"
    assert f"{paid.public_id} is paid and cannot be voided" in failed.message
    assert not failed.temporary
    assert isinstance(done, Done)
    assert (reload(paid).status, reload(open_one).status) == ("paid", "void")


def test_a_foreign_invoice_is_not_found() -> None:
    invoice = make_invoice(make_buyer())
    stolen = Request(
        subjects={}, input={}, data={"invoice": invoice.pk}, workspace_id=make_buyer().workspace_id, run_id=1
    )
    (outcome,) = apply(stolen)
    assert isinstance(outcome, Failed)
    assert outcome.code == "not_found"
    assert reload(invoice).status == "open"


def test_the_reason_is_rendered_for_the_log() -> None:
    invoice = make_invoice(make_buyer())
    config = VoidInvoiceConfig(reason="Because of {{trigger.why}}")
    prepared = action.prepare(config, scope_of(invoice, invoice.workspace_id))
    assert isinstance(prepared, Request)
    assert prepared.input == {"invoice": invoice.public_id, "reason": "Because of dispute"}
    assert action.summary(config).startswith("Void the invoice")
    assert action.summary(VoidInvoiceConfig()) == "Void invoice"


def test_without_an_invoice_there_is_nothing_to_void() -> None:
    outcome = action.prepare(action.sample(), scope_of(None, make_buyer().workspace_id))
    assert isinstance(outcome, Failed)
    assert outcome.code == "subject_missing"


def test_the_invoice_is_read_again_afterwards() -> None:
    assert action.changes == {"invoice"}
