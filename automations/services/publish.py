"""Publishing: draft to active, active to inactive (VER-01 to 08, C-28), and restoring an old version as a draft (VER-06)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Count

from accounts.actor import Actor
from accounts.afterwards import afterwards
from accounts.audit import record
from accounts.clock import evaluation_now
from accounts.errors import Refusal, invalid
from automations.engine.definition import Definition
from automations.engine.plan import compile_plan
from automations.engine.problems import Problem
from automations.engine.registry import registry
from automations.models import Automation, AutomationState, Run, Version, VersionState
from automations.services.copies import copy_definition, heard
from automations.services.drafts import Check, Draft, check_version, insert_automation, write_draft
from automations.services.enrolment import would_enrol
from automations.services.find import (
    draft_of,
    find_automation,
    find_version,
    locked_automation,
    need_draft,
    need_state,
)
from automations.services.inflight import follow_all
from automations.services.limits import check_count, check_depth, plan_of, stage_ids
from automations.services.pause import last_run, unfinished_runs
from automations.services.texts import definition_of, read_text
from automations.worker.bell import ring
from automations.worker.locks import lock_exclusively
from automations.worker.schedules import schedule_next

RUNS = ("stay", "cancel")


@dataclass(frozen=True, slots=True)
class Preview:
    """What activating would do: problems, unfinished runs by the step they stand on, and how many records `enrolExisting`
    would start a run for now (None where the trigger has no such query)."""

    problems: Sequence[Problem]
    runs_by_step: dict[str, int]
    would_enrol: int | None


def preview_activation(*, actor: Actor, automation_id: int, version: int | None = None) -> Preview:
    """The preview; changes nothing. Refuses a `version` that could not be activated."""
    actor.require("publish")
    automation = find_automation(actor, automation_id)
    _check_named(automation, version)
    draft = need_draft(automation)
    check = check_version(draft)
    would = would_enrol(automation, draft) if check.valid else None
    return Preview(check.problems, runs_by_step(automation), would)


def runs_by_step(automation: Automation) -> dict[str, int]:
    """Unfinished runs by the step they stand on, over the index of unfinished runs."""
    runs = Run.objects.filter(workspace_id=automation.workspace_id, automation_id=automation.pk, ended_at__isnull=True)
    rows = runs.values("step").annotate(runs=Count("pk")).order_by("step")
    return {row["step"] or "trigger": row["runs"] for row in rows}


def activate(
    *,
    actor: Actor,
    automation_id: int,
    runs: str = "stay",
    enrol_existing: bool = False,
    revision: int | None = None,
    version: int | None = None,
) -> Automation:
    """Put the draft in force and open entry. Runs on older versions stay on them (the default) or are cancelled.

    Refused: no draft (`wrong_state`, with the advice to restore), problems that are errors (`invalid_definition`), a plan's
    limit (`plan_limit`), runs that are held by a pause (`wrong_state`). `revision` guards against activating what somebody
    saved meanwhile (`draft_conflict`), and so does `version`, the number that the draft should have: one that was in force
    before is `version_inactive`, with the advice to restore it (VER-07). `enrol_existing` starts a run for each record that
    matches now; asked for again without a draft it goes on with the active version, and enrols nobody twice.
    """
    actor.require("publish")
    if runs not in RUNS:
        raise invalid("runs", f"must be one of {', '.join(RUNS)}.")
    automation = find_automation(actor, automation_id)
    if enrol_existing and automation.state == AutomationState.ACTIVE and draft_of(automation) is None:
        _enrol_again(actor, automation_id, version)
    else:
        _publish(actor, automation_id, runs, revision, version, enrol_existing)
    # Behind the commit: ending and recording thousands of rows must not keep routers waiting for the automation.
    afterwards(lambda: follow_all(automation_id))
    return find_automation(actor, automation_id)


@transaction.atomic
def _enrol_again(actor: Actor, automation_id: int, version: int | None) -> None:
    automation = locked_automation(actor, automation_id)
    _check_named(automation, version, again=True)
    need_state(automation, AutomationState.ACTIVE)
    _mark_enrolment(actor, automation)
    automation.save()


def _mark_enrolment(actor: Actor, automation: Automation) -> None:
    """From its first record on; `inflight.follow` goes through them, page by page."""
    automation.enrol_after, automation.sweep = 0, True
    record(actor, "automation.enrol", automation.public_id, None, {"version": _number(automation)})


@transaction.atomic
def _publish(
    actor: Actor, automation_id: int, runs: str, revision: int | None, version: int | None, enrol: bool
) -> None:
    lock_exclusively([automation_id])
    automation = locked_automation(actor, automation_id)
    _check_named(automation, version)
    draft = _publishable(automation, revision)
    check = check_version(draft)
    definition = definition_of(draft)
    _refuse_problems(automation, definition, check)
    before = {"state": automation.state, "version": _number(automation)}
    _put_in_force(automation, draft, definition, keep=runs == "stay")
    if runs == "cancel":
        automation.cancel_mark, automation.cancel_reason = last_run(automation), "cancelled_on_publish"
        automation.sweep = True
    record(actor, "automation.activate", automation.public_id, before, {"version": draft.number, "runs": runs})
    if enrol:
        _mark_enrolment(actor, automation)
    automation.save()
    ring()


def _number(automation: Automation) -> int | None:
    return automation.active_version.number if automation.active_version else None


def _check_named(automation: Automation, number: int | None, *, again: bool = False) -> None:
    """Refuse to put a version in force that is not the draft; with `again` the active one is meant as well."""
    version = find_version(automation, number) if number is not None else None
    if version is None or version.state == VersionState.DRAFT or (again and version.state == VersionState.ACTIVE):
        return
    details = {"version": version.number, "activeVersion": _number(automation)}
    if version.state == VersionState.ACTIVE:
        raise Refusal("wrong_state", f"Version {version.number} of “{automation.name}” is in force already.", details)
    raise Refusal(
        "version_inactive",
        f"Version {version.number} of “{automation.name}” was in force before and is not put in force again; restore it, which "
        "makes a new draft of it, and activate that.",
        details,
    )


def _publishable(automation: Automation, revision: int | None) -> Version:
    draft = draft_of(automation)
    if draft is None:
        raise Refusal(
            "wrong_state",
            f"“{automation.name}” has no draft to activate; save one, or restore an older version as a draft.",
            {"state": automation.state},
        )
    if revision is not None and revision != automation.draft_revision:
        raise Refusal(
            "draft_conflict",
            f"The draft is at revision {automation.draft_revision}, not {revision}; look at it before activating it.",
            {"revision": automation.draft_revision, "yours": revision},
        )
    if automation.hold_mark is not None and unfinished_runs(automation):
        raise Refusal(
            "wrong_state",
            "Runs of this automation are held by its pause; resume it first and say how they go on.",
            {"state": automation.state, "inFlight": automation.in_flight},
        )
    return draft


def _refuse_problems(automation: Automation, definition: Definition, check: Check) -> None:
    """Errors refuse, warnings do not. Limits have a code of their own."""
    staged = bool(definition.settings.scope)
    check_depth(plan_of(automation.workspace_id), check.depth, staged)
    errors = [problem for problem in check.problems if problem.severity == "error" and problem.code != "plan_limit"]
    if errors:
        count = "One problem stands" if len(errors) == 1 else f"{len(errors)} problems stand"
        raise Refusal(
            "invalid_definition",
            f"{count} in the way of activating “{automation.name}”; the first: {errors[0].message}",
            {"problems": [problem.as_json() for problem in check.problems]},
        )
    stages = list(stage_ids(automation.workspace_id, definition.settings.scope).values())
    check_count(automation.workspace_id, stages, own=automation.pk)


def _put_in_force(automation: Automation, draft: Version, definition: Definition, *, keep: bool) -> None:
    now = evaluation_now()
    before = automation.trigger_key
    Version.objects.filter(automation=automation, state=VersionState.ACTIVE).update(state=VersionState.INACTIVE)
    draft.state, draft.activated_at = VersionState.ACTIVE, now
    draft.save()
    copy_definition(automation, definition, _still_heard(automation) if keep else ())
    automation.active_version = draft
    automation.state = AutomationState.ACTIVE
    automation.in_flight, automation.paused_at, automation.hold_mark = "", None, None
    if automation.trigger_key != before:  # an enrolment under way goes through records of another kind
        automation.enrol_after = None
    automation.draft_revision += 1
    schedule_next(automation, compile_plan(definition, registry), now)


def _still_heard(automation: Automation) -> Iterable[str]:
    """Events that end runs of older versions, while such runs go on."""
    runs = Run.objects.filter(workspace_id=automation.workspace_id, automation_id=automation.pk, ended_at__isnull=True)
    older = Version.objects.filter(pk__in=runs.values("version_id"), automation=automation)
    return [name for version in older for name in heard(definition_of(version))]


@transaction.atomic
def restore_version(*, actor: Actor, automation_id: int, number: int) -> Draft:
    """Copy an old version into the draft, which gets the next number where there is none; what runs changes only when it is
    activated (VER-06)."""
    actor.require("edit")
    automation = locked_automation(actor, automation_id)
    version = find_version(automation, number)
    if version.state == VersionState.DRAFT:
        raise Refusal("wrong_state", f"Version {number} is the draft itself.", {"state": version.state})
    text, fmt = version.source, version.source_format
    return write_draft(actor, automation, definition_of(version), text=text, fmt=fmt)


@transaction.atomic
def duplicate(
    *, actor: Actor, automation_id: int, name: str | None = None, trigger: dict[str, Any] | None = None
) -> Draft:
    """A second automation with the same steps, in state DRAFT, with another trigger where one is given (DEF-28). Its key is
    free again, because keys are unique."""
    actor.require("edit")
    automation = find_automation(actor, automation_id)
    version = draft_of(automation) or automation.active_version
    if version is None:
        raise Refusal("not_found", f"“{automation.name}” has no version to copy.")
    data = {**version.definition, "name": name or f"{automation.name} (copy)"[:200]}
    data.pop("key", None)
    if trigger is not None:
        data["trigger"] = trigger
    return insert_automation(actor, read_text(data, None).definition)
