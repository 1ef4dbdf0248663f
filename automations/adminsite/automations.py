"""Automations in the admin (CONTRACTS 10)."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from accounts.errors import Refusal
from accounts.models import Audit
from automations.adminsite import editing
from automations.adminsite.keyset import KeysetAdmin
from automations.models import Automation, Version
from automations.services.drafts import create_automation

TEMPLATE = "admin/automations/automation.html"
ROWS = 20  # of versions and audit on the page


@admin.register(Automation)
class AutomationAdmin(KeysetAdmin):
    """A list, a page that edits the draft as YAML, and a page that makes a new one. Nothing is changed past the services."""

    prefix = "auto"
    list_display = ("name", "public_id", "workspace", "state", "trigger_key", "priority", "updated_at")
    list_select_related = ("workspace",)
    list_filter = ("state",)
    search_help_text = "An id such as auto_12, a key, or the beginning of a name."

    def find(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By key or the beginning of the name."""
        return queryset.filter(Q(key=term) | Q(name__istartswith=term))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Operators of the installation."""
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Operators of the installation."""
        return bool(request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Through the API, which asks whether there were runs."""
        return False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show the draft; a POST does what the button says."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        automation = self._automation(object_id)
        if request.method != "POST":
            return self._page(request, automation, editing.page_of(automation))
        form = editing.EditorForm(request.POST)
        name = request.POST.get("act", "")
        if not form.is_valid() or name not in editing.ACTS:
            page = editing.Page(request.POST.get("text", ""), automation.draft_revision)
            page.refusal = Refusal("invalid", "The text must not be empty, and a button be pressed.")
            return self._page(request, automation, page, 422)
        page = editing.act(editing.operator(request, automation.workspace_id), automation, name, form)
        if page.done:
            messages.success(request, page.done)
            return HttpResponseRedirect(reverse("admin:automations_automation_change", args=[automation.pk]))
        automation.refresh_from_db()
        return self._page(request, automation, page, page.refusal.status if page.refusal else 200)

    def _automation(self, object_id: str) -> Automation:
        rows = Automation.objects.select_related("workspace", "active_version")
        found = rows.filter(pk=int(object_id)).first() if object_id.isascii() and object_id.isdigit() else None
        if found is None:
            raise Http404
        return found

    def _page(
        self, request: HttpRequest, automation: Automation, page: editing.Page, status: int = 200
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": automation.name,
            "automation": automation,
            "page": page,
            "form": editing.EditorForm(initial={"text": page.text, "revision": page.revision}),
            "versions": Version.objects.filter(automation=automation)
            .select_related("author")
            .order_by("-number")[:ROWS],
            "audit": Audit.objects.filter(workspace_id=automation.workspace_id, object=automation.public_id).order_by(
                "-pk"
            )[:ROWS],
            **editing.questions(automation),
        }
        return TemplateResponse(request, TEMPLATE, context, status=status)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Make an automation from a text."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = editing.NewForm(request.POST or None)
        page = editing.Page(request.POST.get("text", ""), 0)
        status = 200
        if request.method == "POST" and form.is_valid():
            page.text = form.cleaned_data["text"]
            actor = editing.operator(request, form.cleaned_data["workspace"].pk)
            try:
                draft = create_automation(actor=actor, body=page.text, fmt="yaml")
                return HttpResponseRedirect(reverse("admin:automations_automation_change", args=[draft.automation.pk]))
            except Refusal as refusal:
                page.refusal, status = refusal, refusal.status
                page.problems = list(refusal.details.get("problems", ()))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "New automation",
            "page": page,
            "form": form,
            "automation": None,
        }
        return TemplateResponse(request, TEMPLATE, context, status=status)
