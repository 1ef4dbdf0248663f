"""What becomes of a fire time that is still to come when its time zone changes (TRG-15 to 18, DESIGN 5.4).

A schedule that belongs to the wall clock fires once per local day and time, whatever zone those are read in. The fire time at hand
therefore keeps its local day and time, and the new zone says which moment that is. So no local time fires twice, which counting
from the present would do when the clocks go back to a morning that has fired, and none is lost: a time that is past in the new
zone is due at once, like any that was missed. A schedule of absolute time goes on from the present. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from automations.engine.schedules import cron, interval, next_fire, walltime


def moved(
    parameters: Mapping[str, Any], due: datetime, now: datetime, old: ZoneInfo, new: ZoneInfo, anchor: datetime
) -> datetime:
    """The moment at which a schedule fires next that was to fire at `due` by the `old` zone; it may lie before `now`.

    `anchor` is the moment of activation, from which intervals count. A schedule that names a zone of its own stays as it is, and so
    does an interval of fixed length. An interval of months, or at a time of day, keeps the number of its mark. Raises ValueError
    when the parameters are wrong or the time never comes.
    """
    if parameters.get("timeZone"):
        return due
    if text := parameters.get("interval"):
        fixed = not parameters.get("at") and interval.parse(text).months == 0
        return due if fixed else _same_mark(parameters, due, old, new, anchor)
    if (text := parameters.get("cron")) and not cron.checked(text)[1]:
        return due if due <= now else cron.following(text, now, new)
    return walltime.instant(walltime.naive(due, old), new)


def _same_mark(
    parameters: Mapping[str, Any], due: datetime, old: ZoneInfo, new: ZoneInfo, anchor: datetime
) -> datetime:
    """The marks of both zones are counted in step: the anchor may fall on different days in them, so neither local time nor
    nearness tells which belong together. Such marks are at least a day apart, ten years are four thousand."""
    before = after = anchor
    while before < due:
        before = next_fire(parameters, before, old, anchor)
        after = next_fire(parameters, after, new, anchor)
    return after
