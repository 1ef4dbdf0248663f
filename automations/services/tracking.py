"""Facts that come as events: page views of a customer (BIL-13), opens and clicks of an e-mail (RUN-22, C-37). They are written
down with the event, so that a condition or a wait which is reached later still sees them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.db import connection

from accounts.services.customers import count_pageviews

if TYPE_CHECKING:
    from automations.services.events import NewEvent

# A click is an open as well: the picture of an opened mail may be blocked where its links are not.
_NOTE = """
with locked as (
    select d.id, bool_or(v.clicked) as clicked, min(coalesce(v.at, onward_now())) as at
    from automations_delivery d
    join unnest(%s::bigint[], %s::bigint[], %s::boolean[], %s::timestamptz[]) v (id, workspace_id, clicked, at)
        on v.id = d.id and v.workspace_id = d.workspace_id
    group by d.id
), ordered as (
    select d.id from automations_delivery d where d.id in (select id from locked) order by d.id for no key update
)
update automations_delivery d
set opened_at = least(d.opened_at, l.at), clicked_at = case when l.clicked then least(d.clicked_at, l.at) else d.clicked_at end
from locked l join ordered o on o.id = l.id where d.id = l.id
"""


TELLING = frozenset({"pageview", "email_opened", "email_clicked"})


def tell(events: Sequence[NewEvent]) -> bool:
    """Whether one of them may have something to be written down."""
    return any(event.name in TELLING for event in events)


def note_facts(events: Sequence[NewEvent]) -> None:
    """Write down what these recorded events say about customers and e-mails, in the caller's transaction."""
    if not tell(events):
        return
    _count_pageviews([event for event in events if event.name == "pageview" and "customer" in event.subjects])
    _note_mail(events)


def _count_pageviews(events: Sequence[NewEvent]) -> None:
    for workspace_id in sorted({event.workspace_id for event in events}):
        views = Counter(event.subjects["customer"] for event in events if event.workspace_id == workspace_id)
        count_pageviews(workspace_id=workspace_id, views=views)


def _note_mail(events: Sequence[NewEvent]) -> None:
    """Write `opened_at` and `clicked_at` of the deliveries that these events are about; the earliest time stays."""
    rows = [
        (event.subjects["delivery"], event.workspace_id, event.name == "email_clicked", event.occurred_at)
        for event in events
        if event.name in ("email_opened", "email_clicked") and "delivery" in event.subjects
    ]
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(_NOTE, [list(column) for column in zip(*rows, strict=True)])
