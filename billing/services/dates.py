"""Due dates: a date without a time means the end of that day in the workspace's time zone (BIL-04)."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from accounts.models import Workspace
from billing.models import SEND_INVOICE, Invoice

DAYS_UNTIL_DUE = 30


def due_time(value: date | datetime | None, zone: str) -> datetime | None:
    """When something due on `value` is due: a time as it is (without a zone: in the workspace's), a date at its very end."""
    if value is None:
        return None
    local = ZoneInfo(zone)
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=local)
    return datetime.combine(value, time.max, tzinfo=local)


def zone_of(workspace_id: int) -> str:
    """The time zone of a workspace."""
    return Workspace.objects.values_list("time_zone", flat=True).get(pk=workspace_id)


def default_due(invoice: Invoice, now: datetime) -> datetime | None:
    """The due time of an invoice issued without one: for one that is sent, the end of the day `billing.daysUntilDue` days
    (30) ahead; an invoice that is charged needs none."""
    if invoice.collection_method != SEND_INVOICE:
        return None
    workspace = Workspace.objects.get(pk=invoice.workspace_id)
    settings = workspace.defaults.get("billing") or {}
    days = int(settings.get("daysUntilDue", DAYS_UNTIL_DUE))
    day = now.astimezone(ZoneInfo(workspace.time_zone)).date() + timedelta(days=days)
    return due_time(day, workspace.time_zone)
