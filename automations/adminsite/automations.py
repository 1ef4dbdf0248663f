"""Automations in the administration: a list, a page that edits the draft as YAML, and a page that makes a new one (CONTRACTS 10)."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString

from accounts.adminsite.keyset import KeysetAdmin, filter_by
from accounts.adminsite.look import NONE, state_pill
from accounts.adminsite.record import shown_at
from accounts.errors import Refusal
from accounts.models import Audit
from automations.adminsite import editing
from automations.adminsite.words import AUTOMATIONS, VERSIONS
from automations.models import Automation, Version
from automations.services.drafts import check_text, create_automation
from automations.services.find import draft_of

TEMPLATE = "admin/automations/automation.html"
ROWS = 20  # of versions and audit on the page


@admin.register(Automation)
class AutomationAdmin(KeysetAdmin):
    """Nothing is changed past the services."""

    prefix, section, place = "auto", "Automations", 10
    about = "What is done when something happens: edit, validate, activate and pause."
    empty_text = "Nothing runs on its own yet. Make an automation from a text, or apply a file with `manage.py automations apply`."
    list_display = (
        "name",
        "condition",
        "trigger_key",
        "version",
        "priority",
        shown_at("updated_at", "changed"),
        "workspace",
    )
    related = ("workspace", "active_version")
    list_filter = (filter_by("state", {"ACTIVE": "Active", "PAUSED": "Paused", "DRAFT": "Draft"}),)
    search_help_text = "An id such as auto_12, a key, or the beginning of a name."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Lists need no graphs."""
        return super().get_queryset(request).defer("active_version__definition", "active_version__source")

    def find(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """By key or the beginning of the name."""
        return queryset.filter(Q(key=term) | Q(name__istartswith=term))

    @admin.display(description="state")
    def condition(self, automation: Automation) -> SafeString:
        """A pill."""
        return state_pill(AUTOMATIONS, automation.state)

    @admin.display(description="version")
    def version(self, automation: Automation) -> Any:
        """The one that runs."""
        return automation.active_version.number if automation.active_version else NONE

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
        automation = self._automation(object_id)
        page.stored = editing.is_stored(automation, page)
        return self._page(request, automation, page, page.refusal.status if page.refusal else 200)

    def _automation(self, object_id: str) -> Automation:
        rows = Automation.objects.select_related("workspace", "active_version", "active_version__author")
        found = rows.filter(pk=int(object_id)).first() if object_id.isascii() and object_id.isdigit() else None
        if found is None:
            raise Http404
        return found

    def _page(
        self, request: HttpRequest, automation: Automation, page: editing.Page, status: int = 200
    ) -> HttpResponse:
        versions = Version.objects.filter(automation=automation).select_related("author").defer("definition", "source")
        audit = Audit.objects.filter(workspace_id=automation.workspace_id, object=automation.public_id)
        context = {
            **self._context(request, page),
            "title": automation.name,
            "automation": automation,
            "badge": state_pill(AUTOMATIONS, automation.state),
            "form": editing.EditorForm(initial={"text": page.text, "revision": page.revision}),
            "draft": draft_of(automation),
            "versions": [(one, state_pill(VERSIONS, one.state)) for one in versions.order_by("-number")[:ROWS]],
            "audit": audit.order_by("-pk")[:ROWS],
            "changes": editing.changes(automation, page),
            **editing.questions(automation),
        }
        return TemplateResponse(request, TEMPLATE, context, status=status)

    def _context(self, request: HttpRequest, page: editing.Page) -> dict[str, Any]:
        return {**self.admin_site.each_context(request), "opts": self.opts, "page": page, "automation": None}

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Make an automation from a text, or only validate it."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = editing.NewForm(request.POST or None, initial={"text": editing.STARTER})
        page = editing.Page(request.POST.get("text", editing.STARTER), 0)
        status = 200
        if request.method == "POST" and form.is_valid():
            page.text = form.cleaned_data["text"]
            try:
                made = self._make(request, form, page)
            except Refusal as refusal:
                page.refusal, status = refusal, refusal.status
                page.problems = list(refusal.details.get("problems", ()))
            else:
                if made is not None:
                    return HttpResponseRedirect(reverse("admin:automations_automation_change", args=[made.pk]))
        context = {**self._context(request, page), "title": "New automation", "form": form}
        return TemplateResponse(request, TEMPLATE, context, status=status)

    def _make(self, request: HttpRequest, form: editing.NewForm, page: editing.Page) -> Automation | None:
        actor = editing.operator(request, form.cleaned_data["workspace"].pk)
        if request.POST.get("act") == "validate":
            page.problems = [
                problem.as_json() for problem in check_text(actor=actor, body=page.text, fmt="yaml").problems
            ]
            page.checked = True
            return None
        draft = create_automation(actor=actor, body=page.text, fmt="yaml")
        messages.success(request, f"“{draft.automation.name}” is made. Nothing runs before it is activated.")
        return draft.automation
