"""Plain admin pages. None of them changes what a service guards (CONTRACTS 10): roles of the installation's people and the
limits of plans can be edited, everything else is to be read."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.core.paginator import Paginator
from django.http import HttpRequest

from accounts import models
from accounts.sign_in import SignInForm

admin.site.login_form = SignInForm


class UncountedPaginator(Paginator):
    """Big tables are never counted: the page list ends at a fixed number of rows."""

    @property
    def count(self) -> int:
        """An upper bound, found by reading ids only."""
        rows: Any = self.object_list
        return len(rows.values_list("pk")[:5000])


class ReadOnlyAdmin(admin.ModelAdmin):
    """Lists and shows; adds, changes and deletes nothing."""

    show_full_result_count = False
    paginator = UncountedPaginator
    ordering = ("-pk",)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Services add."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Services change."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Services delete."""
        return False


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
class PersonAdmin(UserAdmin):
    """People of the installation, by e-mail address."""

    add_form = NewPersonForm
    ordering = ("email",)
    list_display = ("email", "name", "is_active", "is_superuser", "last_login")
    list_filter = ("is_active", "is_superuser")
    search_fields = ("email", "name")
    readonly_fields = ("last_login", "date_joined")
    fieldsets = (
        (None, {"fields": ("email", "password", "name")}),
        ("Admin", {"fields": ("is_active", "is_staff", "is_superuser")}),
        ("Times", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "name", "usable_password", "password1", "password2")}),)
    filter_horizontal = ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A person is made inactive: others' records name them."""
        return False


@admin.register(models.Plan)
class PlanAdmin(admin.ModelAdmin):
    """Limits are data (LIM-14)."""

    list_display = ("slug", "stage_automations", "stage_depth", "global_automations", "global_depth", "monthly_emails")
    ordering = ("order",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """A slug in use stays."""
        return () if obj is None else ("slug",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Workspaces name it."""
        return False


@admin.register(models.Workspace)
class WorkspaceAdmin(ReadOnlyAdmin):
    """Tenants, without their signing secret."""

    list_display = ("slug", "name", "plan", "currency", "time_zone", "created_at")
    search_fields = ("slug", "name")
    exclude = ("webhook_secret",)


@admin.register(models.Membership)
class MembershipAdmin(ReadOnlyAdmin):
    """Who has which role where."""

    list_display = ("user", "workspace", "role")
    list_select_related = ("user", "workspace")
    list_filter = ("role",)


@admin.register(models.ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    """Keys, without what could be checked against a secret."""

    list_display = ("name", "workspace", "prefix", "scopes", "expires_at", "revoked_at", "last_used_at")
    list_select_related = ("workspace",)
    exclude = ("secret_sha256",)


@admin.register(models.Customer)
class CustomerAdmin(ReadOnlyAdmin):
    """Customers; they are changed on their page or through the API."""

    list_display = ("public_id", "name", "email", "segment", "workspace", "created_at")
    list_select_related = ("workspace",)
    search_fields = ("email", "name", "external_id")


@admin.register(models.Task)
class TaskAdmin(ReadOnlyAdmin):
    """Tasks for people."""

    list_display = ("title", "assignee", "state", "due_at", "workspace")
    list_select_related = ("workspace",)
    list_filter = ("state",)


@admin.register(models.StageEntry)
class StageEntryAdmin(ReadOnlyAdmin):
    """Who entered which stage when."""

    list_display = ("customer", "stage", "bucket", "at", "left_at")
    list_select_related = ("customer", "stage")


@admin.register(models.Consent)
class ConsentAdmin(ReadOnlyAdmin):
    """Who may be mailed."""

    list_display = ("address", "topic", "state", "reason", "at", "workspace")
    list_select_related = ("workspace",)
    search_fields = ("address",)


@admin.register(models.Audit)
class AuditAdmin(ReadOnlyAdmin):
    """The audit log; the database itself refuses changes."""

    list_display = ("at", "actor", "action", "object", "workspace")
    list_select_related = ("workspace",)
    search_fields = ("=object", "=action")


for _model in (
    models.Contact,
    models.CustomerTag,
    models.Funnel,
    models.Idempotency,
    models.Installation,
    models.RateBucket,
    models.Stage,
    models.Tag,
):
    admin.site.register(_model, ReadOnlyAdmin)
