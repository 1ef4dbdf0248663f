"""What automations do when accounts announces something (DESIGN 5.5, "Layers"; CONTRACTS 6): some announcements are events that
start runs, others end, move or empty runs. All in the transaction of the change itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from accounts.announcements import Announcement, listen, lock_ahead
from accounts.clock import refuse_backwards_while
from automations.models import UNFINISHED, Run
from automations.services import ahead, exports, leaving, merging, rezoning
from automations.services.events import NewEvent, record_events
from automations.services.mail import ensure_workspace_mail


def connect() -> None:
    """Called once when the app starts."""
    listen(on_announcements)
    lock_ahead(ahead.hold_runs)
    refuse_backwards_while(any_unfinished_run)
    exports.connect()


def any_unfinished_run() -> bool:
    """Whether the clock must not go back (CONTRACTS, "The clock")."""
    return Run.objects.filter(status__in=UNFINISHED).exists()


def on_announcements(announcements: list[Announcement]) -> None:
    """Events are recorded together and in order; the rest follows by kind."""
    record_events([_EVENTS[item.kind](item) for item in announcements if item.kind in _EVENTS])
    for kind, obey in _OBEYED.items():
        mine = [item for item in announcements if item.kind == kind]
        if mine:
            obey(mine)


def _created(item: Announcement) -> NewEvent:
    """Once per customer, when it is made or, for a visitor, identified (TRG-11)."""
    return _event(item, "customer.created", str(item.data["key"]), {})


def _entered(item: Announcement) -> NewEvent:
    """Once per entry of a stage (BIL-16, TRG-41)."""
    payload = {"stage": item.data["stage"], "funnel": item.data["funnel"], "bucket": item.data["bucket"] or None}
    return _event(item, "stage_enter", f"cus_{item.customer_id}:stage:{item.data['entry']}", payload)


def _event(item: Announcement, name: str, key: str, payload: dict[str, object]) -> NewEvent:
    assert item.customer_id is not None
    return NewEvent(
        workspace_id=item.workspace_id,
        name=name,
        source="accounts",
        key=key,
        subjects={"customer": item.customer_id},
        payload=payload,
        cause_run=item.cause,
    )


def _workspaces(items: Sequence[Announcement]) -> None:
    for item in items:
        ensure_workspace_mail(item.workspace_id)


_EVENTS: dict[str, Callable[[Announcement], NewEvent]] = {"customer.created": _created, "stage.entered": _entered}
_OBEYED: dict[str, Callable[[Sequence[Announcement]], None]] = {
    "workspace.created": _workspaces,
    "workspace.updated": rezoning.workspaces_updated,
    "customer.merged": merging.merged,
    "consent.changed": leaving.unsubscribed,
    "customer.erased": leaving.erased,
}
