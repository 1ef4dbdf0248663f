"""Void invoice: cancel the run's invoice for good (ACT-06)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import Field

from accounts.actor import system_actor
from accounts.errors import Refusal
from automations.engine.kinds import Config, LocalAction, Request, TemplateText
from automations.engine.outcomes import Done, Failed, Outcome
from automations.engine.scope import Scope
from billing.models import Invoice
from billing.services.invoices import InvoiceRequest, void_invoices


class VoidInvoiceConfig(Config):
    """The reason is kept in the log of the run."""

    reason: TemplateText | None = Field(None, title="Reason", description="Why it is voided, for the log.")


class VoidInvoiceOutput(Config):
    """The invoice as it is now."""

    invoice: str = Field(title="Invoice id")
    status: str = Field(title="Invoice status")
    number: str | None = Field(None, title="Invoice number")


class VoidInvoice(LocalAction):
    """A paid invoice cannot be voided: the step fails and says so."""

    key = "void_invoice"
    label = "Void invoice"
    help = "Cancels the invoice for good. A paid invoice cannot be voided."
    group = "Billing"
    icon = "file-x"
    Config = VoidInvoiceConfig
    Output = VoidInvoiceOutput
    subjects = frozenset({"invoice"})
    changes = frozenset({"invoice"})

    def sample(self) -> VoidInvoiceConfig:
        return VoidInvoiceConfig(reason="Goodwill")

    def summary(self, config: VoidInvoiceConfig) -> str:
        return f"Void the invoice: {config.reason}" if config.reason else self.label

    def prepare(self, config: VoidInvoiceConfig, scope: Scope) -> Request | Outcome:
        """Pure; the state is judged when it is applied, under the invoice's lock."""
        invoice_id = scope.subjects.get("invoice")
        if invoice_id is None:
            return Failed("subject_missing", "This run is about no invoice, so there is none to void.")
        shown: dict[str, Any] = {"invoice": f"inv_{invoice_id}"}
        if config.reason is not None:
            shown["reason"] = scope.text(config.reason)
        return Request(subjects=dict(scope.subjects), input=shown, data={"invoice": invoice_id})

    def apply(self, requests: Sequence[Request], at: datetime) -> Sequence[Outcome]:
        """All of them in a fixed number of statements; a refusal is that run's failure alone."""
        asked = [
            InvoiceRequest(system_actor(request.workspace_id, request.run_id), _invoice_of(request.data))
            for request in requests
        ]
        return [_outcome(answer) for answer in void_invoices(asked)]


def _invoice_of(data: Mapping[str, int]) -> int:
    return data["invoice"]


def _outcome(answer: Invoice | Refusal) -> Outcome:
    if isinstance(answer, Refusal):
        return Failed(answer.code, answer.message, details=answer.details)
    return Done({"invoice": answer.public_id, "status": str(answer.status), "number": answer.number})


action = VoidInvoice()
