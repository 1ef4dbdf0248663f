"""Who may act: people, workspaces and their members, keys, plans. People and the limits of plans are edited here (CONTRACTS 10)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from accounts import models
from accounts.adminsite.keyset import KeysetAdmin, NamedChangeList, OperatorsOnly
from accounts.adminsite.look import code, moment, pill, row_link, table
from accounts.adminsite.record import Block, Notice, RecordAdmin, shown_at

ROWS = 20


class NewPersonForm(AdminUserCreationForm):
    """A new person, named by e-mail address."""

    class Meta:
        model = models.User
        fields = ("email", "name")
        field_classes: ClassVar[dict[str, type[forms.Field]]] = {}

    def clean_email(self) -> str:
        """Two spellings of an address are one person."""
        return str(self.cleaned_data["email"]).strip().lower()


@admin.register(models.User)
class PersonAdmin(KeysetAdmin, UserAdmin):
    """People of the installation, by e-mail address."""

    prefix, section, place = "usr", "Settings", 10
    about = "Who can sign in, and who may use these pages."
    search_help_text = "An id such as usr_1, or the beginning of an address or a name."
    add_form = NewPersonForm
    ordering = ("email",)
    list_display = ("email", "name", "is_active", "is_superuser", shown_at("last_login", "last sign-in"))
    list_filter = ("is_active", "is_superuser")
    readonly_fields = ("signed_in", "joined")
    fieldsets = (
        (None, {"fields": ("email", "password", "name")}),
        ("Rights", {"fields": ("is_active", "is_staff", "is_superuser")}),
        ("Times", {"fields": ("signed_in", "joined")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "name", "usable_password", "password1", "password2")}),)
    filter_horizontal = ()

    @admin.display(description="last sign-in")
    def signed_in(self, person: models.User) -> SafeString:
        """None for one who never did."""
        return moment(person.last_login)

    @admin.display(description="added")
    def joined(self, person: models.User) -> SafeString:
        """Since when they are here."""
        return moment(person.date_joined)

    def find(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By the beginning of the address or the name."""
        return queryset.filter(Q(email__startswith=term.lower()) | Q(name__istartswith=term))


@admin.register(models.Plan)
class PlanAdmin(OperatorsOnly, admin.ModelAdmin):
    """Limits are data (LIM-14)."""

    section, place = "Settings", 40
    about = "What a workspace may have. The limits are edited here; an empty one is no limit."
    list_display = ("slug", "stage_automations", "stage_depth", "global_automations", "global_depth", "monthly_emails")
    fieldsets = (
        (None, {"fields": ("slug", "name", "order")}),
        (
            "Limits",
            {
                "fields": ("stage_automations", "stage_depth", "global_automations", "global_depth", "monthly_emails"),
                "description": "An empty limit is no limit; 0 allows none at all.",
            },
        ),
    )
    ordering = ("order",)
    sortable_by = ()
    actions = None
    empty_value_display = "no limit"
    change_list_template = "admin/onward/list.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """All plans fit on a page."""
        return NamedChangeList

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """A slug in use stays."""
        return () if obj is None else ("slug",)


def key_state(key: models.ApiKey) -> SafeString:
    """Whether the key opens anything now."""
    if key.revoked_at is not None:
        return pill("Revoked", "idle", "bar")
    if key.expires_at is not None and key.expires_at <= timezone.now():
        return pill("Expired", "idle", "clock")
    return pill("Active", "ok", "tick")


@admin.register(models.Workspace)
class WorkspaceAdmin(RecordAdmin):
    """Tenants, without their signing secret."""

    prefix, section, place = "ws", "Settings", 20
    about = "The tenants: plan, currency and time zone of each."
    search_help_text = "An id such as ws_1, a slug, or the beginning of a name."
    list_display = ("name", "slug", "plan", "currency", "time_zone", shown_at("created_at", "created"))
    shown = ("slug", "plan_link", "currency", "time_zone", "defaults", "created_at", "updated_at")
    labels: ClassVar[dict[str, str]] = {"plan_link": "Plan", "defaults": "Settings"}

    def find(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By slug or the beginning of the name."""
        return queryset.filter(Q(slug=term.lower()) | Q(name__istartswith=term))

    def plan_link(self, row: models.Workspace) -> SafeString:
        """To the limits; the column is a slug."""
        return row_link(models.Plan(slug=row.plan))

    def blocks(self, row: models.Workspace) -> Iterable[Block]:
        """Its members and keys."""
        members = row.memberships.select_related("user").order_by("pk")[:ROWS]
        people = ((row_link(one.user), one.role) for one in members)
        yield Block("Members", table(("Person", "Role"), people, "Nobody is a member."))
        keys = ((row_link(key), key_state(key), ", ".join(key.scopes)) for key in row.api_keys.order_by("-pk")[:ROWS])
        yield Block("API keys", table(("Name", "State", "May"), keys, "No keys yet."))


@admin.register(models.Membership)
class MembershipAdmin(RecordAdmin):
    """Who has which role where."""

    section, place = "Settings", 30
    about = "Who has which role in which workspace."
    list_display = ("user", "workspace", "role")
    related = ("user", "workspace")
    list_filter = ("role",)

    def heading(self, row: models.Membership) -> str:
        """Who and where."""
        return f"{row.user} in {row.workspace}"


@admin.register(models.ApiKey)
class ApiKeyAdmin(RecordAdmin):
    """Keys, without what could be checked against a secret."""

    prefix, section, place, title = "key", "Settings", 50, "API keys"
    about = "Which programs may call, and what each of them may do."
    empty_text = "No keys yet. POST /api/v1/api-keys makes one and answers its secret, once."
    search_help_text = "An id such as key_1, or the beginning of a key: ow_ and what follows to the next underscore."
    list_display = ("name", "state", "begins", "may", "workspace", shown_at("last_used_at", "last used"))
    related = ("workspace", "made_by")
    shown = ("begins", "may", "made_by", "created_at", "last_used_at", "expires_at", "revoked_at")
    labels: ClassVar[dict[str, str]] = {
        "created_at": "Made", "last_used_at": "Last used", "expires_at": "Expires", "revoked_at": "Revoked",
    }  # fmt: skip

    def find(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By prefix, also out of a whole key."""
        return queryset.filter(prefix=term.removeprefix("ow_").split("_")[0])

    @admin.display(description="state")
    def state(self, key: models.ApiKey) -> SafeString:
        """A pill."""
        return key_state(key)

    @admin.display(description="key")
    def begins(self, key: models.ApiKey) -> SafeString:
        """What can be shown of it."""
        return code(f"ow_{key.prefix}_…")

    @admin.display(description="may")
    def may(self, key: models.ApiKey) -> str:
        """Its scopes."""
        return ", ".join(key.scopes)

    def heading(self, row: models.ApiKey) -> str:
        """Its name."""
        return row.name

    def badges(self, row: models.ApiKey) -> list[SafeString]:
        """Whether it opens anything."""
        return [key_state(row)]

    def notice(self, row: models.ApiKey) -> Notice | None:
        """What people look for here and cannot find."""
        text = (
            "The secret was shown once, when the key was made, and cannot be read again. If it is lost, make a new key."
        )
        return Notice("idle", text)
