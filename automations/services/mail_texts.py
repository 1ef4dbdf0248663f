"""The e-mail texts that a new workspace has (TPL-11): those that the examples of the product name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MailDraft:
    """One text as it is shipped; the workspace's copy is its own from then on."""

    slug: str
    name: str
    subject: str
    body: str
    kind: str = "customer"


_GREETING = "<p>Hello {{ customer.name | default('there') }},</p>\n"
_AMOUNT = "{{ invoice.total }} {{ invoice.currency }}"
_END = "\n<p>{{ workspace.name }}</p>\n"


def _letter(*paragraphs: str) -> str:
    return _GREETING + "\n".join(f"<p>{text}</p>" for text in paragraphs) + _END


DEFAULTS = (
    MailDraft(
        "payment_failed_first",
        "Payment Failed - First Notice",
        "We could not take your payment for {{ invoice.number }}",
        _letter(
            f"your payment of {_AMOUNT} for invoice {{{{ invoice.number }}}} did not go through.",
            "We will try again in a few days. If your card has changed, please update it before then.",
        ),
    ),
    MailDraft(
        "payment_failed_gentle",
        "Payment Failed - Gentle Reminder",
        "A reminder: {{ invoice.number }} is still open",
        _letter(
            f"invoice {{{{ invoice.number }}}} over {_AMOUNT} is still open.",
            "It may just be an expired card. Updating it takes a minute.",
        ),
    ),
    MailDraft(
        "payment_failed_urgent",
        "Payment Failed - Urgent",
        "Please act: {{ invoice.number }} is unpaid",
        _letter(
            f"we have tried several times to take {_AMOUNT} for invoice {{{{ invoice.number }}}}, without success.",
            "Please pay it or update your card now, so that your service goes on without a break.",
        ),
    ),
    MailDraft(
        "payment_failed_final",
        "Payment Failed - Final Notice",
        "Final notice for {{ invoice.number }}",
        _letter(
            f"this is our last notice for invoice {{{{ invoice.number }}}} over {_AMOUNT}.",
            "If it stays unpaid, we have to end your subscription. Write to us if something is in the way.",
        ),
    ),
    MailDraft(
        "welcome",
        "Welcome",
        "Welcome to {{ workspace.name }}",
        _letter("thank you for joining us. Reply to this mail whenever we can help you get started."),
    ),
    MailDraft(
        "invoice_paid_receipt",
        "Payment Received",
        "Thank you for your payment of {{ invoice.total }} {{ invoice.currency }}",
        _letter(f"we have received {_AMOUNT} for invoice {{{{ invoice.number }}}}. Thank you."),
    ),
    MailDraft(
        "renewal_reminder",
        "Renewal Reminder",
        "Your subscription renews soon",
        _letter(
            "your subscription renews on {{ subscription.currentPeriodEnd | date }}. There is nothing you need to do."
        ),
    ),
    MailDraft(
        "invoice_overdue_team",
        "Invoice Overdue - Team Notice",
        "{{ invoice.number }} of {{ customer.name }} is overdue",
        "<p>Invoice {{ invoice.number }} of {{ customer.name }} over " + _AMOUNT + " is overdue since "
        "{{ invoice.dueDate | date }}.</p>\n",
        kind="team",
    ),
)
