"""Customers and what is known of them: consent, further people, tags, funnels and stages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from accounts import models
from accounts.adminsite.keyset import filter_by
from accounts.adminsite.look import NONE, data, moment, pill, row_link, state_pill, table
from accounts.adminsite.record import Block, RecordAdmin, shown_at

ROWS = 20
TASKS = {"open": ("Open", "run", "open"), "done": ("Done", "ok", "tick")}
CONSENTS = {"subscribed": ("Subscribed", "ok", "tick"), "unsubscribed": ("Unsubscribed", "idle", "bar")}


@admin.register(models.Customer)
class CustomerAdmin(RecordAdmin):
    """Customers; they are changed through the API."""

    prefix, section, place = "cus", "Customers", 10
    about = "Everybody that automations act on: their data, runs and invoices."
    empty_text = (
        "No customers yet. The first one comes with POST /api/v1/customers, or with an event about somebody new."
    )
    search_help_text = "An id such as cus_7, an e-mail address, an external id, or the beginning of a name."
    list_display = ("called", "public_id", "email", "segment", "workspace", shown_at("created_at", "created"))
    related = ("workspace", "owner", "merged_into")
    shown = (
        "email", "external_id", "segment", "plan", "stage", "tags", "country", "time_zone", "locale", "owner", "metadata",
        "known", "created_at", "identified_at", "erased_at", "merged_into",
    )  # fmt: skip
    labels: ClassVar[dict[str, str]] = {"created_at": "Created", "identified_at": "Identified", "erased_at": "Erased"}

    def find(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By what names them exactly, or the beginning of the name."""
        return queryset.filter(Q(email__iexact=term) | Q(external_id=term) | Q(name__istartswith=term))

    @admin.display(description="name")
    def called(self, row: models.Customer) -> str:
        """As they are called."""
        return str(row)

    def badges(self, row: models.Customer) -> list[SafeString]:
        """What is special about the record."""
        if row.erased_at is not None:
            return [pill("Erased", "idle", "bar")]
        return [] if row.identified_at is not None else [pill("Anonymous", "draft", "person")]

    def stage(self, row: models.Customer) -> str:
        """Where in the funnel they are."""
        return " · ".join(str(row.facts[name]) for name in ("stage", "bucket") if row.facts.get(name))

    def known(self, row: models.Customer) -> Any:
        """Facts, without the stage, which has a line of its own."""
        rest = {name: value for name, value in row.facts.items() if name not in ("stage", "bucket")}
        return data(rest) if rest else None

    def tags(self, row: models.Customer) -> Any:
        """Their labels."""
        slugs = row.customer_tags.order_by("tag__slug").values_list("tag__slug")[:50]
        return format_html_join(" ", '<span class="tag">{}</span>', slugs)

    def blocks(self, row: models.Customer) -> Iterable[Block]:
        """Whether they may be mailed, who else there is, what people have to do."""
        consents = (
            (
                one.address,
                state_pill(CONSENTS, one.state),
                one.topic or "everything",
                one.reason or NONE,
                moment(one.at),
            )
            for one in row.consents.order_by("-pk")[:ROWS]
        )
        heads = ("Address", "Consent", "Topic", "Why", "Since")
        yield Block("Consent", table(heads, consents, "Nothing was said about mail; it may be sent."))
        contacts = [(one.role, one.name or NONE, one.email or NONE) for one in row.contacts.order_by("pk")[:ROWS]]
        if contacts:
            yield Block("Further people", table(("Role", "Name", "E-mail"), contacts, ""))
        found = row.tasks.order_by("-pk")[:ROWS]
        tasks = [(row_link(one), state_pill(TASKS, one.state), moment(one.due_at)) for one in found]
        if tasks:
            yield Block("Tasks", table(("Task", "State", "Due"), tasks, ""))


@admin.register(models.Consent)
class ConsentAdmin(RecordAdmin):
    """Who may be mailed."""

    section, place = "Customers", 20
    about = "Which addresses may be mailed, and since when not."
    empty_text = "Nothing yet. A line appears when somebody unsubscribes, subscribes again, or a mail bounces."
    search_help_text = "An address."
    list_display = ("address", "consent", "topic", "reason", shown_at("at", "since"), "workspace")
    related = ("workspace", "customer")
    list_filter = (filter_by("state", {"subscribed": "Subscribed", "unsubscribed": "Unsubscribed"}, "consent"),)
    shown = ("customer", "topic", "reason", "at", "created_at")
    labels: ClassVar[dict[str, str]] = {"at": "Since", "created_at": "First said"}

    def find(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By the whole address."""
        return queryset.filter(address=term.lower())

    @admin.display(description="consent")
    def consent(self, row: models.Consent) -> SafeString:
        """A pill."""
        return state_pill(CONSENTS, row.state)

    def heading(self, row: models.Consent) -> str:
        """The address."""
        return row.address

    def badges(self, row: models.Consent) -> list[SafeString]:
        """What they said."""
        return [state_pill(CONSENTS, row.state)]


@admin.register(models.Contact)
class ContactAdmin(RecordAdmin):
    """Further people of customers."""

    section, place = "Customers", 30
    about = "Further people of a customer: who pays, who owns."
    list_display = ("name", "email", "role", "customer", "workspace")
    list_display_links = ("name", "email")
    related = ("workspace", "customer")
    hidden = ("workspace",)


@admin.register(models.StageEntry)
class StageEntryAdmin(RecordAdmin):
    """Who entered which stage when."""

    section, place = "Customers", 40
    about = "Who entered which stage of a funnel, and when they left it."
    empty_text = "Nobody entered a stage yet."
    list_display = ("customer", "stage", "bucket", shown_at("at", "entered"), shown_at("left_at", "left"), "workspace")
    related = ("workspace", "customer", "stage", "funnel")
    shown = ("customer", "funnel", "stage", "bucket", "at", "left_at")
    labels: ClassVar[dict[str, str]] = {"at": "Entered", "left_at": "Left"}

    def heading(self, row: models.StageEntry) -> str:
        """Who, where."""
        return f"{row.customer} in {row.stage}"


@admin.register(models.Funnel)
class FunnelAdmin(RecordAdmin):
    """Rows of stages."""

    prefix, section, place = "fun", "Settings", 80
    about = "Rows of stages that customers move through."
    list_display = ("name", "slug", "workspace")
    related = ("workspace",)
    shown = ("slug", "created_at")

    def blocks(self, row: models.Funnel) -> Iterable[Block]:
        """Its stages, in order."""
        stages = (
            (row_link(one), one.name, ", ".join(one.buckets) or NONE) for one in row.stages.order_by("order")[:100]
        )
        yield Block("Stages", table(("Stage", "Name", "Buckets"), stages, "No stages yet."))


@admin.register(models.Stage)
class StageAdmin(RecordAdmin):
    """Stages of funnels."""

    prefix, section, place = "stg", "Settings", 81
    about = "The stages and the buckets that an entry may carry."
    list_display = ("slug", "name", "funnel", "order", "workspace")
    related = ("workspace", "funnel")
    hidden = ("workspace", "slug")


@admin.register(models.Tag)
class TagAdmin(RecordAdmin):
    """Labels."""

    section, place = "Customers", 50
    about = "Labels that people and automations give to customers."
    empty_text = "No tags yet. One is made when it is given for the first time."
    search_help_text = "A tag."
    list_display = ("slug", "workspace", shown_at("created_at", "first used"))
    related = ("workspace",)
    shown = ("created_at",)
    labels: ClassVar[dict[str, str]] = {"created_at": "First used"}

    def find(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By its slug."""
        return queryset.filter(slug=term.lower())


@admin.register(models.CustomerTag)
class CustomerTagAdmin(RecordAdmin):
    """Who has which tag."""

    section, place = "Customers", 60
    about = "Which customer has which tag since when."
    list_display = ("customer", "tag", shown_at("created_at", "since"), "workspace")
    related = ("workspace", "customer", "tag")
    hidden = ("workspace",)

    def heading(self, row: models.CustomerTag) -> str:
        """Who has what."""
        return f"{row.customer}: {row.tag}"
