"""Lists of the admin that page by key and never count, and pages that only show."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import ShowFacets
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from accounts.ids import read_id

AFTER = "after"


class KeysetChangeList(ChangeList):
    """Newest first; `?after=<id>` goes on behind a row. One query for a page, whatever the size of the table."""

    next_after: int | None = None

    def get_filters_params(self, params: Any = None) -> Any:
        """`after` is no field."""
        found = super().get_filters_params(params)
        found.pop(AFTER, None)
        return found

    def get_results(self, request: HttpRequest) -> None:
        """One row more than fits says whether there are others."""
        text = request.GET.get(AFTER, "")
        rows = self.queryset.order_by("-pk")
        if text.isascii() and text.isdigit() and len(text) < 19:
            rows = rows.filter(pk__lt=int(text))
        found = list(rows[: self.list_per_page + 1])
        more = len(found) > self.list_per_page
        self.result_list = found[: self.list_per_page]
        self.next_after = self.result_list[-1].pk if more else None
        self.result_count = self.full_result_count = len(self.result_list)
        self.show_full_result_count = self.can_show_all = self.multi_page = False
        self.show_admin_actions = False
        self.paginator = Paginator(self.result_list, self.list_per_page)

    @property
    def older_address(self) -> str:
        """The page behind this one, with the same filters."""
        return self.get_query_string({AFTER: self.next_after})

    @property
    def newest_address(self) -> str:
        """The first page, with the same filters."""
        return self.get_query_string(remove=[AFTER])


class KeysetAdmin(admin.ModelAdmin):
    """Found by public id (`prefix`), by number, or by what `find` adds."""

    prefix: ClassVar[str] = ""
    actions = None
    search_fields = ("pk",)
    search_help_text = "An id, for instance exec_12."
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    sortable_by = ()
    list_per_page = 50
    change_list_template = "admin/automations/keyset_list.html"

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

    def has_module_permission(self, request: HttpRequest) -> bool:
        """The admin is for the installation's operators."""
        return bool(request.user.is_superuser)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """As above."""
        return bool(request.user.is_superuser)


class ReadOnlyKeysetAdmin(KeysetAdmin):
    """Adds, changes and deletes nothing: services do."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Services add."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Services change."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Services delete."""
        return False
