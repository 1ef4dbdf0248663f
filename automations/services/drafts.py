"""Drafts: creating automations, saving, reading and discarding what is being edited (C-28, VER-01, VER-08, DEF-01).

Saving never changes the automation's state. A draft may hold problems, which come back with it; a text without a shape is refused
and nothing is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Max

from accounts.actor import Actor
from accounts.audit import record
from accounts.errors import Refusal, invalid
from automations.engine.align import align
from automations.engine.definition import Definition
from automations.engine.graph import depth
from automations.engine.problems import Problem
from automations.engine.registry import registry
from automations.engine.validation import validate
from automations.models import Automation, AutomationState, Run, Version, VersionState
from automations.services.copies import copy_definition
from automations.services.find import draft_of, find_automation, locked_automation, need_draft
from automations.services.known import known_for
from automations.services.limits import check_count
from automations.services.priorities import move_to
from automations.services.texts import definition_of, read_text, stored, written_source
from automations.worker.locks import lock_exclusively

Body = str | bytes | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft with everything that is wrong with it; `revision` is its ETag."""

    automation: Automation
    version: Version
    definition: Definition
    problems: list[Problem]

    @property
    def revision(self) -> int:
        """Grows with every save; a save that names an older one is refused."""
        return self.automation.draft_revision


@dataclass(frozen=True, slots=True)
class Check:
    """The answer of a validation: activation would refuse it unless `valid`. `depth` counts as plan limits do (C-16)."""

    problems: list[Problem]
    depth: int

    @property
    def valid(self) -> bool:
        """No problem is an error."""
        return not any(problem.severity == "error" for problem in self.problems)


def check_text(*, actor: Actor, body: Body, fmt: str | None = None) -> Check:
    """Validate a text without storing it."""
    actor.require("read")
    source = read_text(body, fmt)
    return checked(actor.workspace_id, source.definition, source.lines)


def check_draft(*, actor: Actor, automation_id: int) -> Check:
    """Validate the draft; without one the active version, which may have come to name what is gone."""
    actor.require("read")
    automation = find_automation(actor, automation_id)
    version = draft_of(automation) or automation.active_version
    if version is None:
        raise Refusal("not_found", f"“{automation.name}” has neither a draft nor an active version.")
    return check_version(version)


def check_version(version: Version) -> Check:
    """Validate a stored version, with lines of the text that was written."""
    source = written_source(version)
    return checked(version.workspace_id, definition_of(version), source.lines if source else None)


def checked(workspace_id: int, definition: Definition, lines: Any = None) -> Check:
    """Validate against what exists in the workspace."""
    known = known_for(workspace_id)
    return Check(list(validate(definition, registry, known, lines)), depth(definition, registry))


@transaction.atomic
def create_automation(*, actor: Actor, body: Body, fmt: str | None = None) -> Draft:
    """A new automation in state DRAFT with its first draft. Refused: a text without a shape, a key that is taken, a plan
    whose limit is reached (LIM-01 to 03)."""
    actor.require("edit")
    source = read_text(body, fmt)
    return insert_automation(actor, source.definition, lines=source.lines, text=_kept(body), fmt=fmt or "")


def insert_automation(
    actor: Actor, definition: Definition, *, lines: Any = None, text: str = "", fmt: str = ""
) -> Draft:
    """The same for a definition at hand, in the caller's transaction."""
    automation = Automation(workspace_id=actor.workspace_id, state=AutomationState.DRAFT, draft_revision=1)
    copy_definition(automation, definition)
    check_count(actor.workspace_id, automation.stages)
    _save(automation)
    version = _new_version(actor, automation, 1, definition, text, fmt)
    record(actor, "automation.create", automation.public_id, None, {"name": automation.name, "sha256": version.sha256})
    return Draft(automation, version, definition, checked(actor.workspace_id, definition, lines).problems)


@transaction.atomic
def save_draft(
    *, actor: Actor, automation_id: int, body: Body, fmt: str | None = None, revision: int | None = None
) -> Draft:
    """Store the draft, making one where there is none. With `revision` (If-Match) a save over somebody else's is a
    `draft_conflict`; without, the last write wins. Steps keep their ids across versions where they are the same steps."""
    actor.require("edit")
    source = read_text(body, fmt)
    automation = locked_automation(actor, automation_id)
    if revision is not None and revision != automation.draft_revision:
        raise Refusal(
            "draft_conflict",
            f"The draft is at revision {automation.draft_revision} and you edited {revision}; read it again and merge.",
            {"revision": automation.draft_revision, "yours": revision},
        )
    return write_draft(actor, automation, source.definition, lines=source.lines, text=_kept(body), fmt=fmt or "")


def write_draft(
    actor: Actor, automation: Automation, definition: Definition, *, lines: Any = None, text: str = "", fmt: str = ""
) -> Draft:
    """Put a definition into the draft of a locked automation, in the caller's transaction."""
    draft = draft_of(automation)
    previous = draft or automation.active_version
    if previous is not None:
        definition = align(definition, definition_of(previous))
    automation.draft_revision += 1
    if automation.state == AutomationState.DRAFT:
        copy_definition(automation, definition)
    _save(automation)
    before = {"sha256": draft.sha256} if draft else None
    if draft is None:
        draft = _new_version(actor, automation, next_number(automation), definition, text, fmt)
    else:
        _fill(draft, actor, definition, text, fmt).save()
    after = {"sha256": draft.sha256, "revision": automation.draft_revision}
    record(actor, "draft.save", automation.public_id, before, after)
    return Draft(automation, draft, definition, checked(actor.workspace_id, definition, lines).problems)


def next_number(automation: Automation) -> int:
    """The number of the next version."""
    last = Version.objects.filter(automation=automation).aggregate(last=Max("number"))["last"]
    return int(last or 0) + 1


def _new_version(
    actor: Actor, automation: Automation, number: int, definition: Definition, text: str, fmt: str
) -> Version:
    version = Version(workspace_id=automation.workspace_id, automation=automation, number=number)
    _fill(version, actor, definition, text, fmt).save(force_insert=True)
    return version


def _fill(version: Version, actor: Actor, definition: Definition, text: str, fmt: str) -> Version:
    version.definition, version.sha256 = stored(definition)
    version.source, version.source_format = text, fmt if text else ""
    version.author_id = actor.user_id
    return version


def _kept(body: Body) -> str:
    """The text as it was written; a body that was read as data before has none."""
    if isinstance(body, bytes):
        return body.decode("utf-8-sig")
    return body if isinstance(body, str) else ""


def _save(automation: Automation) -> None:
    """Save; a key that another automation has is `invalid`."""
    try:
        with transaction.atomic():
            automation.save()
    except IntegrityError as error:
        if "automation_key_unique" not in str(error):
            raise
        raise invalid("key", f"another automation of this workspace has the key “{automation.key}”.") from error


def read_draft(*, actor: Actor, automation_id: int) -> Draft:
    """The draft with its problems."""
    actor.require("read")
    automation = find_automation(actor, automation_id)
    version = need_draft(automation)
    return Draft(automation, version, definition_of(version), check_version(version).problems)


@transaction.atomic
def discard_draft(*, actor: Actor, automation_id: int) -> Automation:
    """Throw the draft away; the active version stays. An automation that has nothing else is deleted instead."""
    actor.require("edit")
    automation = locked_automation(actor, automation_id)
    draft = need_draft(automation)
    if automation.state == AutomationState.DRAFT:
        raise Refusal(
            "wrong_state", f"The draft is all there is of “{automation.name}”; delete the automation instead."
        )
    record(actor, "draft.discard", automation.public_id, {"sha256": draft.sha256}, None)
    draft.delete()
    automation.draft_revision += 1
    automation.save(update_fields=["draft_revision", "updated_at"])
    return automation


@transaction.atomic
def update_automation(
    *,
    actor: Actor,
    automation_id: int,
    name: str | None = None,
    description: str | None = None,
    priority: int | None = None,
) -> Automation:
    """Rename, describe, or move to another place of the order (PATCH). The draft takes the new name too, so that activating
    it does not bring the old one back."""
    actor.require("edit")
    automation = locked_automation(actor, automation_id)
    before = {"name": automation.name, "priority": automation.priority}
    changed = {key: value for key, value in (("name", name), ("description", description)) if value is not None}
    for key, value in changed.items():
        setattr(automation, key, value)
    draft = draft_of(automation)
    if changed and draft is not None:
        draft.definition = {**draft.definition, **changed}
        draft.sha256 = stored(definition_of(draft))[1]
        draft.save()
        automation.draft_revision += 1
    automation.save()
    if priority is not None:
        move_to(actor=actor, automation=automation, place=priority)
        automation.refresh_from_db()
    after = {"name": automation.name, "priority": automation.priority}
    record(actor, "automation.update", automation.public_id, before, after)
    return automation


@transaction.atomic
def delete_automation(*, actor: Actor, automation_id: int) -> None:
    """Delete an automation that never had a run; one that had is evidence (`has_runs`): pause it instead."""
    actor.require("edit")
    find_automation(actor, automation_id)
    lock_exclusively([automation_id])
    automation = locked_automation(actor, automation_id)
    if Run.objects.filter(workspace_id=actor.workspace_id, automation_id=automation.pk).exists():
        raise Refusal("has_runs", f"“{automation.name}” has runs, which stay on record; pause it instead.")
    Automation.objects.filter(pk=automation.pk).update(
        state=AutomationState.DRAFT, active_version=None, draft_revision=F("draft_revision") + 1
    )
    Version.objects.filter(automation=automation, state__in=VersionState.values).delete()
    record(actor, "automation.delete", automation.public_id, {"name": automation.name, "key": automation.key}, None)
    automation.delete()
