"""The panel of the first page (`automations.adminsite.attention`)."""

from __future__ import annotations

from typing import Any

from django.template import Library

from automations.adminsite import attention as panel
from automations.adminsite.words import DELIVERIES, delivery_kind, run_pill

register = Library()


@register.inclusion_tag("admin/onward/attention.html")
def attention() -> dict[str, Any]:
    """What an operator should look at first."""
    found = panel.look()
    deliveries = [(row, DELIVERIES[row.state], delivery_kind(row)) for row in found.unsettled]
    return {"found": found, "failed": [(run, run_pill(run)) for run in found.failed], "deliveries": deliveries}
