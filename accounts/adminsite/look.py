"""How values look on the pages of the administration: states as pills, ids as links, times and JSON for people.

Everything here answers escaped text; nothing asks the database.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString

NONE = SafeString('<span class="nil">–</span>')
_ID = re.compile(r"([a-z]+)_([1-9][0-9]{0,18})", re.ASCII)
_CIRCLE = "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17z"
#: Drawn on a 24 grid with a stroke of 1.7 (the design language): one meaning, one icon.
ICONS: Mapping[str, str] = {
    "tick": "M5 12.5l5 5L19.5 7",
    "fail": "M8.5 3h7L21 8.5v7L15.5 21h-7L3 15.5v-7zM9.2 9.2l5.6 5.6M14.8 9.2l-5.6 5.6",
    "bar": f"{_CIRCLE}M6.2 6.2l11.6 11.6",
    "open": _CIRCLE,
    "hourglass": "M6.5 3h11M6.5 21h11M8 3c0 5 8 5.5 8 9s-8 4-8 9M16 3c0 5-8 5.5-8 9s8 4 8 9",
    "snow": "M12 3v18M4.2 7.5l15.6 9M19.8 7.5l-15.6 9",
    "question": f"{_CIRCLE}M9.6 9.5a2.5 2.5 0 1 1 3.6 2.2c-.8.45-1.2.9-1.2 1.8M12 16.6v.1",
    "pencil": "M4.5 19.5l1-4.2L16 4.8l3.2 3.2L8.7 18.5z",
    "play": "M8 5.5l10.5 6.5L8 18.5z",
    "pause": "M9 5.5v13M15 5.5v13",
    "clock": f"{_CIRCLE}M12 7.5V12l3 2",
    "card": "M3.5 6h17v12h-17zM3.5 10h17",
    "skip": "M6 5.5l8.5 6.5L6 18.5zM18 5.5v13",
    "mail": "M3.5 6h17v12h-17zM4 7l8 6 8-6",
    "fork": "M6 4v16M6 9c0 4 4 5 7 5h5M15.5 11.5L18 14l-2.5 2.5",
    "bolt": "M13 3L5.5 13.5H11L10 21l8-11h-5.5z",
    "flag": "M6 21V4h11.5l-2 4 2 4H6",
    "record": "M5 4h14v16H5zM9 9h6M9 13h6",
    "outside": f"{_CIRCLE}M3.5 12h17M12 3.5c3.3 4.8 3.3 12.2 0 17M12 3.5c-3.3 4.8-3.3 12.2 0 17",
    "loop": "M5 11a7 7 0 0 1 12.5-3.5L19 9M19 4.5V9h-4.5M19 13a7 7 0 0 1-12.5 3.5L5 15M5 19.5V15h4.5",
    "warn": "M12 4l9 16H3zM12 10v4.5M12 17.4v.1",
    "person": "M12 12.5a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM5 20c.8-3.5 3.6-5 7-5s6.2 1.5 7 5",
}  # fmt: skip


def icon(name: str) -> SafeString:
    """One of `ICONS`; for the eye only, a word always stands beside it."""
    return format_html('<svg class="i" viewBox="0 0 24 24" aria-hidden="true"><path d="{}"/></svg>', ICONS[name])


def pill(text: str, tone: str = "idle", sign: str = "") -> SafeString:
    """A state: an icon and a word, then a colour. Tones: ok, bad, warn, wait, run, idle, draft."""
    return format_html('<span class="pill pill-{}">{}{}</span>', tone, icon(sign) if sign else "", text)


def state_pill(states: Mapping[str, tuple[str, str, str]], value: str | None) -> SafeString:
    """The pill of a stored state; one that the table does not know is shown as it is."""
    if not value:
        return NONE
    return pill(*states.get(value, (value, "idle", "")))


def link(address: str, text: Any) -> SafeString:
    """A link."""
    return format_html('<a href="{}">{}</a>', address, text)


def _of_id(address: str, text: Any) -> SafeString:
    return format_html('<a class="id" href="{}">{}</a>', address, text)


def address_of(model: type[Model], key: Any) -> str:
    """Where the page of a row is."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[key])


def list_address(model: type[Model], **wanted: Any) -> str:
    """Where the list of a kind is, narrowed to what is wanted: `customer__id__exact=7`."""
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return f"{address}?{urlencode(wanted)}" if wanted else address


def row_link(row: Model | None, text: Any = None) -> SafeString:
    """A link to a row's page; the text alone where it has none."""
    if row is None:
        return NONE
    shown = str(row) if text is None else text
    try:
        return link(address_of(type(row), row.pk), shown)
    except NoReverseMatch:
        return format_html("{}", shown)


def id_link(public: str | None, text: Any = None) -> SafeString:
    """`inv_8` as a link to its page, whichever app has it; anything else as plain text."""
    if not public:
        return NONE
    match = _ID.fullmatch(public)
    for model, page in admin.site._registry.items() if match else ():
        if match and getattr(page, "prefix", "") == match[1]:
            address = address_of(model, match[2])
            return _of_id(address, public) if text is None else link(address, text)
    return format_html("{}", public if text is None else text)


def moment(at: datetime | None) -> SafeString:
    """`21 Nov, 10:49`, with the year when it is another one; the exact time is in the title. All times are UTC."""
    if at is None:
        return NONE
    at = at.astimezone(UTC)
    exact = at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"
    return format_html('<time datetime="{}" title="{}">{}</time>', at.isoformat(), exact, moment_text(at))


def moment_text(at: datetime) -> str:
    """The same as text."""
    at = at.astimezone(UTC)
    return f"{at.day} {at:%b %Y, %H:%M}" if at.year != timezone.now().year else f"{at.day} {at:%b, %H:%M}"


def lasting(span: timedelta) -> str:
    """A length for people: `0 ms`, `412 ms`, `3.2 s`, `4 min`, `2 h 5 min`, `3 days`, `13 days 23 h`."""
    seconds = max(span.total_seconds(), 0)
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 59.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return _two(minutes, 60, "h", "min")
    return _two(round(minutes / 60), 24, "days", "h")


def _two(number: int, unit: int, great: str, small: str) -> str:
    whole, rest = divmod(number, unit)
    return f"{whole} {great}" + (f" {rest} {small}" if rest else "")


def code(text: str) -> SafeString:
    """Ids in technical places, keys, expressions."""
    return format_html("<code>{}</code>", text)


def yes_no(value: bool) -> str:
    """For people."""
    return "Yes" if value else "No"


def pretty(value: Any) -> SafeString:
    """JSON on its lines."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=_plainly)
    return format_html('<pre class="data">{}</pre>', text)


def _plainly(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else str(value)


def data(value: Any) -> SafeString:
    """A few plain pairs as pairs; anything deeper as JSON."""
    flat = isinstance(value, Mapping) and len(value) <= 12 and not any(map(_deep, value.values()))
    if not flat:
        return pretty(value)
    return format_html(
        '<dl class="pairs">{}</dl>', format_html_join("", "<div><dt>{}</dt><dd>{}</dd></div>", _pairs(value))
    )


def _pairs(value: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    return ((key, plain(item)) for key, item in value.items())


def _deep(value: Any) -> bool:
    return isinstance(value, (Mapping, list)) or (isinstance(value, str) and (len(value) > 200 or "\n" in value))


def plain(value: Any) -> Any:
    """One JSON value for people."""
    if value is None or value == "":
        return NONE
    return yes_no(value) if isinstance(value, bool) else value


def folded(summary: Any, body: Any) -> SafeString:
    """Closed until somebody wants to see it."""
    return format_html("<details><summary>{}</summary>{}</details>", summary, body)


def table(heads: Iterable[str], rows: Iterable[Iterable[Any]], empty: str) -> SafeString:
    """A small table inside a page, with a sentence where there are no rows. A head that begins with `>` is of a column of
    figures."""
    columns = [{"text": head.lstrip(">"), "figures": head.startswith(">")} for head in heads]
    found = [list(zip(columns, row, strict=True)) for row in rows]
    return SafeString(render_to_string("admin/onward/table.html", {"heads": columns, "rows": found, "empty": empty}))
