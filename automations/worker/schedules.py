"""Firing schedules (TRG-02, TRG-15 to 18): each fire time is an event addressed to its automation, or one for each record.

A schedule whose version cannot be compiled in this process keeps its time: a process that can takes it, or this one at a later try,
and as it was missed meanwhile it fires once (TRG-18). One that has no next time at all (its zone left the table, say) is looked at
again every minute. `manage.py doctor` shows both (A9, T3).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection, transaction

from accounts.clock import evaluation_now
from accounts.errors import Refusal
from automations.engine.plan import Plan
from automations.engine.registry import registry
from automations.engine.schedules import local_time, next_fire
from automations.engine.values import iso
from automations.models import Automation
from automations.services.events import NewEvent, record_events
from automations.worker.plans import broken_versions, plans_for
from automations.worker.querying import matching
from automations.worker.retrying import is_surroundings, retrying

log = logging.getLogger(__name__)
MOST = 20  # schedules a pass
PAGE = 500
_DUE = """
select a.id, a.workspace_id, a.active_version_id, a.next_fire_at, v.activated_at
from automations_automation a join automations_version v on v.id = a.active_version_id
where a.state = 'ACTIVE' and a.next_fire_at <= onward_now() and a.active_version_id <> all(%s)
order by a.next_fire_at limit 1 for no key update of a skip locked
"""
_TIMELESS = """
select a.id, a.active_version_id, v.activated_at
from automations_automation a join automations_version v on v.id = a.active_version_id
where a.state = 'ACTIVE' and a.next_fire_at is null and a.trigger_key = 'schedule' and a.active_version_id <> all(%s)
order by a.id limit 500 for no key update of a skip locked
"""
_ZONES = """
select a.id, w.time_zone from automations_automation a join accounts_workspace w on w.id = a.workspace_id where a.id = any(%s)
"""
_NEXT = """
update automations_automation a set next_fire_at = v.due from unnest(%s::bigint[], %s::timestamptz[]) v (id, due) where a.id = v.id
"""


@dataclass(frozen=True, slots=True)
class Due:
    """A schedule whose time has come."""

    automation_id: int
    workspace_id: int
    version_id: int
    fire_at: datetime
    anchor: datetime
    zone: str
    exact: bool = False

    def key(self, zone: ZoneInfo | str) -> str:
        """`auto_1@2026-11-23T09:00` (CONTRACTS 7); `exact` adds the moment, where another one had the same local time."""
        moment = f"({iso(self.fire_at.astimezone(UTC))})" if self.exact else ""
        return f"auto_{self.automation_id}@{local_time(self.fire_at, zone)}{moment}"


def fire_schedules() -> int:
    """Fire what is due, each schedule in a transaction of its own; answers how many fired. A schedule that was missed while nobody
    worked fires once, and next in the future."""
    count = 0
    while count < MOST and _fire_one():
        count += 1
    return count


def _fire_one() -> bool:
    """The schedule that is due longest. One that cannot be fired misses this time alone: it must not keep the others from theirs."""
    found: list[Due] = []
    try:
        try:
            return retrying(lambda: _fire(found))
        except Refusal:  # another moment had this local time: the time zone was changed between them
            return retrying(lambda: _fire(found, exact=True))
    except Exception as error:  # whatever a query, a condition or a record raised
        if is_surroundings(error) or not found:
            raise
        log.exception("the schedule of auto_%s could not be fired for %s", found[0].automation_id, found[0].fire_at)
        return retrying(lambda: _pass_over(found[0]))


@transaction.atomic
def _pass_over(due: Due) -> bool:
    plan = plans_for([due.version_id]).get(due.version_id)
    if plan is None:
        return False
    following = _following(plan.schedule, evaluation_now(), due.zone, due.anchor)
    Automation.objects.filter(pk=due.automation_id, next_fire_at=due.fire_at).update(next_fire_at=following)
    return True


@transaction.atomic
def _fire(found: list[Due], exact: bool = False) -> bool:
    taken = _take(exact)
    if taken is None:
        return False
    due, plan = taken
    found[:] = [due]
    now = evaluation_now()
    if plan.schedule is not None:
        for events in _occurrences(due, plan, now):
            record_events(events)
    Automation.objects.filter(pk=due.automation_id).update(
        next_fire_at=_following(plan.schedule, now, due.zone, due.anchor)
    )
    return True


def _take(exact: bool) -> tuple[Due, Plan] | None:
    """The schedule that is due longest of those that this process can read, locked."""
    unread: set[int] = set()
    while True:
        with connection.cursor() as cursor:
            cursor.execute(_DUE, [[*broken_versions(), *unread]])
            row = cursor.fetchone()
        if row is None:
            return None
        id, workspace_id, version_id, fire_at, anchor = row
        plan = plans_for([version_id]).get(version_id)
        if plan is not None:
            return Due(id, workspace_id, version_id, fire_at, anchor, _zones([id])[id], exact), plan
        unread.add(version_id)


def _zones(automation_ids: Collection[int]) -> dict[int, str]:
    """The zones of their workspaces, read when the automations are locked: whoever changes a zone waits for these locks to move the
    fire times (`services/rezoning.py`), so zone and time belong together."""
    with connection.cursor() as cursor:
        cursor.execute(_ZONES, [list(automation_ids)])
        return dict(cursor.fetchall())


@transaction.atomic
def find_lost_times() -> int:
    """Give those active schedules a next time that have none although there is one; answers how many. What they missed meanwhile is
    not made up for: nobody knows when it was."""
    with connection.cursor() as cursor:
        cursor.execute(_TIMELESS, [broken_versions()])
        rows = cursor.fetchall()
        if not rows:
            return 0
        plans = plans_for({version for _, version, _ in rows})
        zones, now = _zones([row[0] for row in rows]), evaluation_now()
        times = {
            id: _following(plans[version].schedule, now, zones[id], anchor)
            for id, version, anchor in rows
            if version in plans
        }
        found = {id: due for id, due in times.items() if due is not None}
        cursor.execute(_NEXT, [list(found), list(found.values())])
    return len(found)


def schedule_next(automation: Automation, plan: Plan, now: datetime) -> datetime | None:
    """Set (not save) when a schedule fires first, counted from `now`, its moment of activation; None for other triggers. The
    automation is locked."""
    automation.next_fire_at = _following(plan.schedule, now, _zones([automation.pk])[automation.pk], now)
    return automation.next_fire_at


def following_fire(automation: Automation, now: datetime) -> datetime | None:
    """When a schedule that goes on fires next: intervals keep counting from the activation of its version, and what fell into a
    pause is not made up for (PAU-09). The automation is locked."""
    due, version = automation.next_fire_at, automation.active_version
    if version is None or (due is not None and due > now):
        return due
    zone = _zones([automation.pk])[automation.pk]
    return _following(schedule_of(version.definition), now, zone, version.activated_at or now)


def schedule_of(definition: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The parameters of a schedule in a stored definition, which need no compiling; None for another trigger."""
    trigger = definition.get("trigger") or {}
    return trigger if trigger.get("type") == "schedule" else None


def _following(parameters: Mapping[str, Any] | None, now: datetime, zone: str, anchor: datetime) -> datetime | None:
    if parameters is None:
        return None
    try:
        return next_fire(parameters, now, zone or "UTC", anchor)
    except (ValueError, OverflowError):  # checked when it was activated; a zone may have left the table since
        log.exception("a schedule has no next time: %s", dict(parameters))
        return None


def _occurrences(due: Due, plan: Plan, now: datetime) -> Iterator[Sequence[NewEvent]]:
    """One event, or with `forEach` a page of events at a time."""
    assert plan.schedule is not None
    zone = str(plan.schedule.get("timeZone") or due.zone or "UTC")
    each = plan.schedule.get("forEach")
    if not each:
        yield [_event(due, zone, {}, "")]
        return
    query = registry.queries[each["query"]]
    root = registry.roots[query.root]
    after = 0
    while page := query.page(due.workspace_id, after, PAGE):
        after = page[-1][root.subject]
        found = matching(page, each.get("where"), plan, now, due.zone)
        yield [_event(due, zone, subjects, f"#{root.prefix}_{subjects[root.subject]}") for subjects in found]


def _event(due: Due, zone: str, subjects: Mapping[str, int], suffix: str) -> NewEvent:
    return NewEvent(
        workspace_id=due.workspace_id,
        name="schedule",
        source="schedule",
        key=due.key(zone) + suffix,
        subjects=subjects,
        payload={"firedAt": iso(due.fire_at.astimezone(UTC)), "localTime": local_time(due.fire_at, zone)},
        occurred_at=due.fire_at,
        origin="schedule",
        only_automation=due.automation_id,
    )
