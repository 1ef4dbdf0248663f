"""What payloads of custom events look like, learned from those that came (DESIGN 4: an unseen field is a warning)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction

from automations.engine.registry import registry
from automations.engine.values import as_moment
from automations.services.jsontext import dumps

if TYPE_CHECKING:
    from automations.services.events import NewEvent

MOST_PATHS = 200  # learned of one event name; a payload with free keys must not fill the table
DEEPEST = 4
_UPSERT = """
insert into automations_eventshape (workspace_id, name, paths, seen_at)
select workspace_id, name, paths, now() from unnest(%s::bigint[], %s::text[], %s::jsonb[]) v (workspace_id, name, paths)
order by workspace_id, name
on conflict (workspace_id, name) do update set seen_at = now(), paths = case
    when (select count(*) from jsonb_object_keys(automations_eventshape.paths)) < %s
    then automations_eventshape.paths || excluded.paths else automations_eventshape.paths end
"""
#: What this process knows to be stored, and the day it was confirmed: most events teach nothing new and cost no statement.
_known: dict[tuple[int, str], tuple[date, dict[str, str]]] = {}


def learn(events: Sequence[NewEvent]) -> None:
    """Remember names and fields of custom events, in the caller's transaction. One statement at most, and only when something
    was new to this process or was last confirmed on another day."""
    today = date.today()  # noqa: DTZ011  # only bounds how long a process trusts its memory
    news = _news(events, today)
    if not news:
        return
    with connection.cursor() as cursor:
        columns: list[Any] = [
            [key[0] for key in news],
            [key[1] for key in news],
            [dumps(paths) for paths in news.values()],
        ]
        cursor.execute(_UPSERT, [*columns, MOST_PATHS])
    transaction.on_commit(lambda: _remember(news, today))


def are_known(events: Sequence[NewEvent]) -> bool:
    """Whether `learn` would have nothing to write."""
    return not _news(events, date.today())  # noqa: DTZ011  # as `learn` does


def _news(events: Sequence[NewEvent], today: date) -> dict[tuple[int, str], dict[str, str]]:
    found: dict[tuple[int, str], dict[str, str]] = {}
    for event in events:
        if event.name not in registry.triggers and event.only_automation is None:
            found.setdefault((event.workspace_id, event.name), {}).update(paths_of(event.payload))
    return {key: paths for key, paths in found.items() if not _stored(key, paths, today)}


def forget() -> None:
    """Drop the memory of this process (tests, and a database that was replaced)."""
    _known.clear()


def _stored(key: tuple[int, str], paths: Mapping[str, str], today: date) -> bool:
    day, known = _known.get(key, (None, {}))
    return day == today and (len(known) >= MOST_PATHS or all(known.get(path) == kind for path, kind in paths.items()))


def _remember(news: Mapping[tuple[int, str], dict[str, str]], today: date) -> None:
    if len(_known) > 10_000:
        _known.clear()
    for key, paths in news.items():
        _known[key] = (today, {**_known.get(key, (today, {}))[1], **paths})


def paths_of(payload: Mapping[str, Any]) -> dict[str, str]:
    """Path -> type of every field: `{"seats": "number", "plan.name": "text"}`."""
    found: dict[str, str] = {}
    _collect(payload, "", 0, found)
    return found


def _collect(value: Mapping[str, Any], above: str, depth: int, found: dict[str, str]) -> None:
    for key, item in value.items():
        if len(found) >= MOST_PATHS:
            return
        path = f"{above}{key}"
        found[path] = kind = _type(item)
        if kind == "object" and depth < DEEPEST:
            _collect(item, f"{path}.", depth + 1, found)


#: What most values are, told by their type alone.
_PLAIN: dict[type, str] = dict.fromkeys((int, float, Decimal), "number") | {
    bool: "boolean",
    list: "list",
    dict: "object",
    type(None): "null",
}


def _type(value: Any) -> str:
    plain = _PLAIN.get(type(value))
    if plain is not None:
        return plain
    if isinstance(value, str):
        return "time" if _is_time(value) else "text"
    if isinstance(value, datetime):
        return "time"
    for kind, name in (((int, float, Decimal), "number"), ((list, tuple), "list"), (Mapping, "object")):
        if isinstance(value, kind):
            return name
    return "null"


def _is_time(text: str) -> bool:
    return text[:1].isdigit() and as_moment(text, UTC) is not None
