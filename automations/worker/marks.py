"""Marks: one row on the automation says that many runs are to end or to be held; a claim obeys it at once (DESIGN 5.5)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from django.db.models import Q

from automations.engine.run_state import RunState
from automations.models import Automation
from automations.services.cancel import end_runs
from automations.services.inflight import freeze
from automations.worker.batch import LiveRun


def obey_marks(runs: Sequence[RunState]) -> list[RunState]:
    """End or hold those of these locked runs that a mark covers; answers the others, which may be walked."""
    marked = _marked({run.automation_id for run in runs})
    if not marked:
        return list(runs)
    ending: dict[str, list[int]] = defaultdict(list)
    holding: dict[int, list[int]] = defaultdict(list)
    free = []
    for run in runs:
        automation = marked.get(run.automation_id)
        if automation and automation.cancel_mark is not None and run.id <= automation.cancel_mark:
            ending[automation.cancel_reason].append(run.id)
        elif automation and automation.hold_mark is not None and run.id <= automation.hold_mark:
            holding[automation.pk].append(run.id)
        else:
            free.append(run)
    for reason, ids in ending.items():
        end_runs(ids, reason=reason)
    for automation_id, ids in holding.items():
        freeze(ids, marked[automation_id].paused_at)
    return free


def covered(runs: Sequence[LiveRun]) -> set[int]:
    """Those of these runs that a mark covers."""
    marked = _marked({run.automation_id for run in runs})
    return {
        run.id
        for run in runs
        if (automation := marked.get(run.automation_id))
        and run.id <= max(automation.cancel_mark or 0, automation.hold_mark or 0)
    }


def _marked(ids: set[int]) -> dict[int, Automation]:
    if not ids:
        return {}
    rows = Automation.objects.filter(_MARKED, pk__in=ids)
    return {row.pk: row for row in rows.only("cancel_mark", "cancel_reason", "hold_mark", "paused_at")}


_MARKED = Q(cancel_mark__isnull=False) | Q(hold_mark__isnull=False)
