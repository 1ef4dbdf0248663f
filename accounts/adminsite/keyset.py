"""Lists of the administration that page by key and never count (CONTRACTS 10)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import ShowFacets
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.text import capfirst

from accounts.adminsite.look import NONE
from accounts.ids import read_id
from accounts.models import Workspace

AFTER = "after"
LONGEST_KEY = 60
MOST_WORKSPACES = 50  # offered as a filter


class NamedChangeList(ChangeList):
    """A list that is called after what it holds, not after what one could do there."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = getattr(self.model_admin, "title", "") or str(capfirst(self.opts.verbose_name_plural))


class KeysetChangeList(NamedChangeList):
    """Newest first; `?after=<key>` goes on behind a row. One query for a page, whatever the size of the table."""

    next_after: Any = None

    def get_filters_params(self, params: Any = None) -> Any:
        """`after` is no field."""
        found = super().get_filters_params(params)
        found.pop(AFTER, None)
        return found

    def get_results(self, request: HttpRequest) -> None:
        """One row more than fits says whether there are others."""
        rows = self.queryset.order_by("-pk")
        after = self._after(request.GET.get(AFTER, ""))
        if after is not None:
            rows = rows.filter(pk__lt=after)
        found = list(rows[: self.list_per_page + 1])
        more = len(found) > self.list_per_page
        self.result_list = found[: self.list_per_page]
        self.next_after = self.result_list[-1].pk if more else None
        self.result_count = self.full_result_count = len(self.result_list)
        self.show_full_result_count = self.can_show_all = self.multi_page = False
        self.show_admin_actions = False
        self.paginator = Paginator(self.result_list, self.list_per_page)

    def _after(self, text: str) -> Any:
        """The key to go on behind; what is none begins at the newest."""
        try:
            return self.opts.pk.to_python(text) if 0 < len(text) < LONGEST_KEY and "\0" not in text else None
        except ValidationError:
            return None

    @property
    def narrowed(self) -> bool:
        """Whether the list shows only some rows, by a search, a filter or a link that led here."""
        return bool(self.query or self.get_filters_params())

    @property
    def everything_address(self) -> str:
        """The list without search and filters."""
        return self.get_query_string(remove=[SEARCH_VAR, AFTER, *self.get_filters_params()])

    @property
    def older_address(self) -> str:
        """The page behind this one, with the same filters."""
        return self.get_query_string({AFTER: self.next_after})

    @property
    def newest_address(self) -> str:
        """The first page, with the same filters."""
        return self.get_query_string(remove=[AFTER])


def workspaces(request: HttpRequest) -> list[tuple[str, str]]:
    """Ids and names of the first workspaces, read once a request."""
    found: list[tuple[str, str]] | None = getattr(request, "onward_workspaces", None)
    if found is None:
        rows = Workspace.objects.order_by("slug").values_list("pk", "name")[:MOST_WORKSPACES]
        found = [(str(pk), name) for pk, name in rows]
        request.onward_workspaces = found  # type: ignore[attr-defined]  # a note of ours on the request
    return found


class WorkspaceFilter(admin.SimpleListFilter):
    """By workspace, where there are several."""

    title = "workspace"
    parameter_name = "workspace"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The first of them by name; beyond these an id in the address still works."""
        found = workspaces(request)
        return found if len(found) > 1 else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Rows of that workspace."""
        value = self.value() or ""
        return queryset.filter(workspace_id=int(value)) if value.isascii() and value.isdigit() else queryset


def filter_by(field: str, choices: Mapping[str, str], title: str = "") -> type[admin.SimpleListFilter]:
    """A filter over known values of a field; the table is not asked which there are."""

    class ChoiceFilter(admin.SimpleListFilter):
        parameter_name = field

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return list(choices.items())

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            return queryset.filter(**{field: self.value()}) if self.value() in choices else queryset

    ChoiceFilter.title = title or field
    return ChoiceFilter


class OperatorsOnly:
    """The administration is for the installation's operators (CONTRACTS 8): membership in a workspace opens nothing here, and
    no permission of Django's own does."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Operators."""
        return bool(request.user.is_superuser)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Operators."""
        return bool(request.user.is_superuser)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Operators, where something can be added."""
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Operators, where something can be changed."""
        return bool(request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: services delete."""
        return False


class KeysetAdmin(OperatorsOnly, admin.ModelAdmin):
    """Found by public id (`prefix`), by number, or by what `find` adds. `related` are read in the query of the page."""

    prefix: ClassVar[str] = ""
    section: ClassVar[str] = "Machinery"
    place: ClassVar[int] = 1000
    title: ClassVar[str] = ""
    about: ClassVar[str] = ""
    empty_text: ClassVar[str] = ""  # what will stand in the list, and when
    related: ClassVar[tuple[str, ...]] = ()
    by_workspace: ClassVar[bool] = True
    actions = None
    empty_value_display = NONE
    search_fields = ("pk",)
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    sortable_by = ()
    list_per_page = 50
    change_list_template = "admin/onward/list.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With what the page shows of related rows."""
        rows = super().get_queryset(request)
        return rows.select_related(*self.related) if self.related else rows

    def get_list_filter(self, request: HttpRequest) -> Any:
        """The filters of the page, and the workspace where the rows have one."""
        own = super().get_list_filter(request)
        has = self.by_workspace and any(field.name == "workspace" for field in self.opts.get_fields())
        return (*own, WorkspaceFilter) if has else own

    def get_list_display(self, request: HttpRequest) -> Any:
        """A column that says the same in every row is left out."""
        shown = super().get_list_display(request)
        alone = "workspace" in shown and len(workspaces(request)) < 2
        return tuple(name for name in shown if name != "workspace") if alone else shown

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """The list without counts."""
        return KeysetChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By id when the term is one, else by `find`."""
        term = search_term.strip()
        if not term:
            return queryset, False
        number = read_id(self.prefix, term) or (
            int(term) if term.isascii() and term.isdigit() and len(term) < 19 else None
        )
        return (queryset.filter(pk=number) if number is not None else self.find(queryset, term)), False

    def find(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """What else a term may mean; nothing by default."""
        return queryset.none()
