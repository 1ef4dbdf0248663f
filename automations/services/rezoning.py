"""Moving the fire times of a workspace whose time zone changes, in the transaction of that change (TRG-15 to 18; DESIGN 5.5, "Layers").

The rule is `engine.schedules.moving`: the next fire time of a schedule keeps its local day and time. A time that was missed before
the change fires once as well, at once unless it is still to come in the new zone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from accounts.announcements import Announcement
from accounts.clock import evaluation_now
from accounts.models import Workspace
from automations.engine.schedules.moving import moved
from automations.models import Automation
from automations.worker.bell import ring
from automations.worker.schedules import schedule_of

log = logging.getLogger(__name__)


def workspaces_updated(items: Sequence[Announcement]) -> None:
    """Obeys `workspace.updated`."""
    for item in items:
        if "time_zone" in item.data["changed"]:
            move_fire_times(item.workspace_id, str(item.data["before"]["time_zone"]))


def move_fire_times(workspace_id: int, old: str) -> int:
    """Move what was to fire by the zone `old`, to the workspace's zone of now; answers how many fire times changed.

    All automations that could have a schedule are locked first, in id order: whoever fires or publishes one is waited for, so that
    none keeps a time of the former zone. Paused ones move too: what fired before the pause does not fire again after it.
    """
    new = Workspace.objects.values_list("time_zone", flat=True).get(pk=workspace_id)
    mine = Automation.objects.filter(workspace_id=workspace_id, exclusive=False).order_by("pk")
    locked = list(mine.select_for_update(no_key=True).values_list("pk", flat=True))
    timed = mine.filter(pk__in=locked, next_fire_at__isnull=False, active_version__isnull=False)
    now = evaluation_now()
    changed = []
    for automation in timed.select_related("active_version"):
        due = _moved(automation, now, old, new)
        if due != automation.next_fire_at:
            automation.next_fire_at = due
            changed.append(automation)
    Automation.objects.bulk_update(changed, ["next_fire_at"])
    if any(automation.next_fire_at is not None and automation.next_fire_at <= now for automation in changed):
        ring()
    return len(changed)


def _moved(automation: Automation, now: datetime, old: str, new: str) -> datetime:
    """By the stored text of the version, compiled or not. What cannot be moved keeps its time rather than losing it."""
    version, due = automation.active_version, automation.next_fire_at
    assert version is not None  # the caller asked for these only
    assert due is not None
    try:
        zones = ZoneInfo(old or "UTC"), ZoneInfo(new or "UTC")
        return moved(schedule_of(version.definition) or {}, due, now, *zones, version.activated_at or now)
    except (ValueError, OverflowError, ZoneInfoNotFoundError):
        log.exception("the schedule of %s keeps its time in the former zone", automation.public_id)
        return due
