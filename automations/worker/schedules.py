"""Firing schedules (TRG-02, TRG-15 to 18): each fire time is an event addressed to its automation, or one for each record."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
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
from automations.worker.plans import plans_for
from automations.worker.querying import matching
from automations.worker.retrying import is_surroundings, retrying

log = logging.getLogger(__name__)
MOST = 20  # schedules a pass
PAGE = 500
_DUE = """
select a.id, a.workspace_id, a.active_version_id, a.next_fire_at, v.activated_at, w.time_zone
from automations_automation a
join automations_version v on v.id = a.active_version_id
join accounts_workspace w on w.id = a.workspace_id
where a.state = 'ACTIVE' and a.next_fire_at <= onward_now()
order by a.next_fire_at limit 1 for no key update of a skip locked
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
    following = _following(plan, evaluation_now(), due.zone, due.anchor)
    Automation.objects.filter(pk=due.automation_id, next_fire_at=due.fire_at).update(next_fire_at=following)
    return True


@transaction.atomic
def _fire(found: list[Due], exact: bool = False) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_DUE)
        row = cursor.fetchone()
    if row is None:
        return False
    due = replace(Due(*row), exact=exact)
    found[:] = [due]
    plan = plans_for([due.version_id]).get(due.version_id)
    now = evaluation_now()
    if plan is not None and plan.schedule is not None:
        for events in _occurrences(due, plan, now):
            record_events(events)
    following = _following(plan, now, due.zone, due.anchor)
    Automation.objects.filter(pk=due.automation_id).update(next_fire_at=following)
    return True


def schedule_next(automation: Automation, plan: Plan, now: datetime) -> datetime | None:
    """Set (not save) when a schedule fires first, counted from `now`, its moment of activation; None for other triggers."""
    automation.next_fire_at = _following(plan, now, automation.workspace.time_zone, now)
    return automation.next_fire_at


def following_fire(automation: Automation, plan: Plan, now: datetime) -> datetime | None:
    """When a schedule that goes on fires next: intervals keep counting from the activation of its version (PAU-09)."""
    anchor = automation.active_version.activated_at if automation.active_version is not None else None
    return _following(plan, now, automation.workspace.time_zone, anchor or now)


def _following(plan: Plan | None, now: datetime, zone: str, anchor: datetime) -> datetime | None:
    if plan is None or plan.schedule is None:
        return None
    try:
        return next_fire(plan.schedule, now, zone or "UTC", anchor)
    except (ValueError, OverflowError):  # checked when it was activated; a zone may have left the table since
        log.exception("a schedule has no next time: %s", plan.definition.name)
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
