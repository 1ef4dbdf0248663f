"""Deliveries with their tries, the texts of mails and the addresses that they come from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.adminsite.keyset import filter_by
from accounts.adminsite.look import NONE, code, data, id_link, moment, pill, pretty, state_pill, table, yes_no
from accounts.adminsite.record import Block, Notice, RecordAdmin, shown_at
from automations import models
from automations.adminsite.words import DELIVERIES, MEANINGS, delivery_kind

ROWS = 100


@admin.register(models.Delivery)
class DeliveryAdmin(RecordAdmin):
    """Deliveries with their tries; the bodies stay where they are."""

    prefix, section, place = "dlv", "Automations", 30
    about = "Mails, calls and charges: each is written down before it is made, and made once."
    empty_text = "No deliveries yet. They come from steps that send a mail, call an address or charge a card."
    search_help_text = "An id such as dlv_12."
    list_display = ("public_id", "kind_of", "condition", "to", "subject", "run_link", "when")
    list_filter = (filter_by("state", {key: name for key, (name, _tone, _sign) in DELIVERIES.items()}),)
    related = ("workspace",)
    shown = (
        "run_link", "step_name", "customer_id", "to", "subject", "money", "created_at", "due_at", "attempts", "sent_at",
        "delivered_at", "opened_at", "clicked_at", "bounced_at", "complained_at", "provider_ref", "key",
    )  # fmt: skip
    labels: ClassVar[dict[str, str]] = {
        "customer_id": "Customer", "created_at": "Queued", "due_at": "Next try", "attempts": "Tries", "sent_at": "Made",
        "delivered_at": "Delivered", "opened_at": "Opened", "clicked_at": "Clicked", "bounced_at": "Bounced",
        "complained_at": "Complained", "provider_ref": "Known to the provider as", "to": "To",
    }  # fmt: skip

    @admin.display(description="what")
    def kind_of(self, delivery: models.Delivery) -> str:
        """The label of its action."""
        return delivery_kind(delivery)

    @admin.display(description="state")
    def condition(self, delivery: models.Delivery) -> SafeString:
        """A pill."""
        return state_pill(DELIVERIES, delivery.state)

    @admin.display(description="run")
    def run_link(self, delivery: models.Delivery) -> SafeString:
        """The run that it belongs to."""
        return id_link(f"exec_{delivery.run_id}")

    @admin.display(description="when")
    def when(self, delivery: models.Delivery) -> SafeString:
        """When it was made, else when it is tried next."""
        if delivery.sent_at is None and delivery.due_at is not None:
            return format_html("due {}", moment(delivery.due_at))
        return moment(delivery.sent_at or delivery.created_at)

    @admin.display(description="step")
    def step_name(self, delivery: models.Delivery) -> str:
        """Which step of the run."""
        return delivery.step

    def money(self, delivery: models.Delivery) -> Any:
        """Said only of what moves money."""
        return yes_no(True) if delivery.money else None

    def attempts(self, delivery: models.Delivery) -> Any:
        """None before the first."""
        return delivery.attempts or None

    @admin.display(description="key")
    def key(self, delivery: models.Delivery) -> SafeString:
        """The name that the other side knows it by on every try."""
        return code(delivery.key)

    def heading(self, row: models.Delivery) -> str:
        """What it is, and to whom."""
        return f"{delivery_kind(row)}{f' to {row.to}' if row.to else ''}"

    def badges(self, row: models.Delivery) -> list[SafeString]:
        """Its state."""
        return [state_pill(DELIVERIES, row.state)]

    def notice(self, row: models.Delivery) -> Notice | None:
        """What the state means for money or mail, and what went wrong."""
        _name, tone, sign = DELIVERIES[row.state]
        error = row.error or {}
        parts = [MEANINGS.get(row.state, ""), str(error.get("message") or error.get("reason") or "")]
        said = " ".join(filter(None, parts))
        return Notice(tone, said, sign) if said else None

    def blocks(self, row: models.Delivery) -> Iterable[Block]:
        """What it says, every try, and what came of it."""
        envelope = row.envelope or {}
        if envelope.get("input"):
            yield Block("What is asked of the other side", data(envelope["input"]))
        tries = models.DeliveryAttempt.objects.filter(delivery=row).order_by("number")[:ROWS]
        cells = (
            (one.number, moment(one.at), _OUTCOMES.get(one.outcome, one.outcome), _trouble(one.error)) for one in tries
        )
        yield Block("Tries", table((">No.", "At", "Outcome", "What went wrong"), cells, "None yet."), name="tries")
        if (row.outcome or {}).get("output"):
            yield Block("Outcome", data((row.outcome or {})["output"]))


_OUTCOMES = {
    "ok": "made",
    "failed": "failed",
    "unknown": "nobody can tell",
    "refused": "refused",
    "lost": "the worker died",
}


def _trouble(error: Any) -> Any:
    if not error:
        return NONE
    if isinstance(error, dict) and error.get("message"):
        return format_html("{} <code>{}</code>", error["message"], error.get("code", ""))
    return pretty(error)


@admin.register(models.EmailTemplate)
class EmailTemplateAdmin(RecordAdmin):
    """E-mail texts."""

    prefix, section, place, title = "tmpl", "Settings", 60, "E-mail templates"
    about = "Texts of mails, by the name that definitions use."
    empty_text = "No templates yet. POST /api/v1/email-templates makes one."
    search_help_text = "An id such as tmpl_3, or a slug."
    list_display = ("slug", "name", "subject", "kind", "workspace", shown_at("updated_at", "changed"))
    related = ("workspace",)
    shown = ("slug", "subject", "kind", "created_at", "updated_at")
    labels: ClassVar[dict[str, str]] = {"kind": "Goes to", "created_at": "Made", "updated_at": "Changed"}

    def find(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By slug."""
        return queryset.filter(slug=term)

    def heading(self, row: models.EmailTemplate) -> str:
        """Its name."""
        return row.name or row.slug

    def blocks(self, row: models.EmailTemplate) -> Iterable[Block]:
        """The text."""
        yield Block("Text", format_html('<pre class="data soft">{}</pre>', row.body))


@admin.register(models.Sender)
class SenderAdmin(RecordAdmin):
    """Addresses that mail may come from."""

    prefix, section, place = "snd", "Settings", 70
    about = "Addresses that mail may come from."
    empty_text = "No senders yet. A workspace begins with its owner's address."
    list_display = ("address", "name", "default", "verified", "workspace")
    related = ("workspace",)
    shown = ("name", "default", "verified_at", "created_at")
    labels: ClassVar[dict[str, str]] = {"default": "Default sender", "verified_at": "Verified", "created_at": "Added"}

    @admin.display(description="verified")
    def verified(self, row: models.Sender) -> SafeString:
        """Since when; mail comes from verified ones only."""
        return moment(row.verified_at) if row.verified_at else pill("Not verified", "warn", "warn")

    def heading(self, row: models.Sender) -> str:
        """The address."""
        return row.address
