"""Pages that show one record: what it is in a few facts, then what belongs to it. Nothing can be changed on them (CONTRACTS 10)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Field, JSONField, Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from accounts.adminsite.keyset import KeysetAdmin
from accounts.adminsite.look import NONE, data, id_link, list_address, moment, row_link, yes_no

TEMPLATE = "admin/onward/record.html"


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the record."""

    label: str
    value: Any


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the page below the facts; `folded` ones are closed at first. `name` is its anchor."""

    title: str
    body: SafeString
    folded: bool = False
    name: str = ""
    more: SafeString | None = None  # a link to all of it


@dataclass(frozen=True, slots=True)
class Notice:
    """The sentence that says how the record stands. Tones as in `look.pill`."""

    tone: str
    text: Any
    sign: str = "clock"


_added: dict[type[Model], list[Callable[[Any], Iterable[Block]]]] = {}


def add_blocks(model: type[Model], blocks: Callable[[Any], Iterable[Block]]) -> None:
    """Upper apps say here what they know of a record of a lower one (a customer's runs and invoices). Called once, at the
    start; each function asks a fixed number of queries."""
    known = _added.setdefault(model, [])
    if blocks not in known:
        known.append(blocks)


class RecordAdmin(KeysetAdmin):
    """A list and a page for each row, both to be read only.

    `shown` names fields of the model, or methods of this class that take the row; without it all fields but `hidden` ones are
    shown. Facts without a value are left out.
    """

    shown: ClassVar[tuple[str, ...]] = ()
    hidden: ClassVar[tuple[str, ...]] = ()
    labels: ClassVar[Mapping[str, str]] = {}
    page_template: ClassVar[str] = TEMPLATE

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Services add."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Services change."""
        return False

    def heading(self, row: Any) -> str:
        """The name of the page."""
        return str(row)

    def badges(self, row: Any) -> list[SafeString]:
        """Its state, beside the name."""
        return []

    def notice(self, row: Any) -> Notice | None:
        """How it stands, in a sentence, where that needs one."""
        return None

    def blocks(self, row: Any) -> Iterable[Block]:
        """What belongs to it."""
        return ()

    def facts(self, row: Any) -> list[Fact]:
        """What it is. A field or method without a value says nothing."""
        names = self.shown or [
            field.name for field in self.opts.concrete_fields if field.name not in self.hidden and not field.primary_key
        ]
        found = ((name, self._value(row, name)) for name in names)
        return [Fact(self._label(name), value) for name, value in found if value not in (None, "", NONE)]

    def _label(self, name: str) -> str:
        if name in self.labels:
            return self.labels[name]
        own = getattr(self, name, None)
        if callable(own):
            return str(capfirst(getattr(own, "short_description", name.replace("_", " "))))
        return str(capfirst(getattr(self.opts.get_field(name), "verbose_name", name)))

    def _value(self, row: Any, name: str) -> Any:
        own = getattr(self, name, None)
        return own(row) if callable(own) else field_value(self.opts.get_field(name), row)

    @admin.display(description="id")
    def public_id(self, row: Any) -> str:
        """`cus_7`; the key where the kind has no prefix."""
        return f"{self.prefix}_{row.pk}" if self.prefix else ""

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The page. Anything but reading it is refused; what is not there leads back to the list."""
        if request.method not in ("GET", "HEAD") or not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        if row is None:
            messages.warning(request, f"There is no {self.opts.verbose_name} {object_id[:40]} here.")
            return HttpResponseRedirect(list_address(self.model))
        return TemplateResponse(request, self.page_template, self.context(request, row))

    def context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What the template shows."""
        filters = request.GET.get("_changelist_filters", "")  # Django's own note of where the list was
        added = [block for extend in _added.get(self.model, ()) for block in extend(row)]
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": self.heading(row),
            "list_title": self.title or capfirst(self.opts.verbose_name_plural),
            "list_address": list_address(self.model) + (f"?{filters}" if filters else ""),
            "row": row,
            "public_id": self.public_id(row),
            "workspace": getattr(row, "workspace", None),
            "badges": self.badges(row),
            "notice": self.notice(row),
            "facts": self.facts(row),
            "blocks": [*self.blocks(row), *added],
        }


def field_value(field: Any, row: Any) -> Any:
    """A field as people read it; None when it holds nothing."""
    if field.is_relation:
        return row_link(related) if (related := getattr(row, field.name)) is not None else None
    value = field.value_from_object(row)
    if value is None or value == "" or value == {} or value == []:
        return None
    if isinstance(value, bool):
        return yes_no(value)
    if isinstance(value, datetime):
        return moment(value)
    return _other(field, row, value)


def _other(field: Field[Any, Any], row: Any, value: Any) -> Any:
    if isinstance(field, JSONField):
        return data(value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if field.name.endswith("run_id") or field.name in ("cause_run", "changed_by_run"):
        return id_link(f"exec_{value}")
    if field.name == "customer_id":
        return id_link(f"cus_{value}")
    return getattr(row, f"get_{field.name}_display")() if field.choices else value


def shown_at(name: str, title: str) -> Any:
    """A column with a time."""

    def column(row: Any) -> SafeString:
        return moment(getattr(row, name))

    column.__name__ = name  # of the cell's class in the page
    column.short_description = title  # type: ignore[attr-defined]  # Django reads it from the function
    return column
