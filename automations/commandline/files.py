"""validate, apply and diff: definitions in files."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from accounts.actor import Actor
from accounts.errors import Refusal
from automations.commandline.finding import meant_by, newest
from automations.commandline.setting import DONE, PROBLEMS, format_of, text_of
from automations.engine.align import align
from automations.engine.definition import Definition
from automations.engine.registry import registry
from automations.engine.writing import to_yaml
from automations.models import Automation
from automations.services.drafts import check_draft, check_text, create_automation, save_draft
from automations.services.find import draft_of
from automations.services.publish import activate
from automations.services.texts import definition_of, read_text, stored

Say = Callable[[str], None]


def validate_files(actor: Actor, names: Sequence[str], say: Say) -> int:
    """Every problem of every file, each with its line."""
    return max([_validate(actor, name, say) for name in names], default=DONE)


def _validate(actor: Actor, name: str, say: Say) -> int:
    try:
        check = check_text(actor=actor, body=text_of(name), fmt=format_of(name))
    except Refusal as refusal:
        return _refused(name, refusal, say)
    _say_problems(name, [problem.as_json() for problem in check.problems], say)
    say(f"{name}: {'valid' if check.valid else 'not valid'}, depth {check.depth}")
    return DONE if check.valid else PROBLEMS


def apply_files(actor: Actor, names: Sequence[str], say: Say, *, activating: bool = False) -> int:
    """Store each file as the draft of its automation, and activate it where asked; one bad file does not hinder the others."""
    return max([_apply(actor, name, say, activating) for name in names], default=DONE)


def _apply(actor: Actor, name: str, say: Say, activating: bool) -> int:
    text, fmt = text_of(name), format_of(name)
    try:
        automation = _store(actor, name, text, fmt, say)
        if activating and draft_of(automation) is not None:
            automation = activate(actor=actor, automation_id=automation.pk)
            say(f"{name}: {automation.public_id} is active")
            return DONE
        check = check_draft(actor=actor, automation_id=automation.pk)
    except Refusal as refusal:
        return _refused(name, refusal, say)
    _say_problems(name, [problem.as_json() for problem in check.problems], say)
    return DONE if check.valid else PROBLEMS


def _store(actor: Actor, name: str, text: str, fmt: str | None, say: Say) -> Automation:
    definition = read_text(text, fmt).definition
    automation = meant_by(actor, definition)
    if automation is None:
        automation = create_automation(actor=actor, body=text, fmt=fmt).automation
        say(f"{name}: made {automation.public_id} “{automation.name}”")
    elif unchanged(automation, definition):
        say(f"{name}: {automation.public_id} says the same already")
    else:
        draft = save_draft(actor=actor, automation_id=automation.pk, body=text, fmt=fmt)
        say(
            f"{name}: draft {draft.version.number} of {automation.public_id} “{automation.name}” at revision {draft.revision}"
        )
    return automation


def unchanged(automation: Automation, definition: Definition) -> bool:
    """Whether the draft, or without one the active version, is this very graph."""
    version = newest(automation)
    return stored(align(definition, definition_of(version)))[1] == version.sha256


def diff_file(actor: Actor, name: str, say: Say) -> int:
    """What applying the file would change, as a unified diff of YAML; nothing when it says the same."""
    try:
        definition = read_text(text_of(name), format_of(name)).definition
    except Refusal as refusal:
        return _refused(name, refusal, say)
    automation = meant_by(actor, definition)
    before: list[str] = []
    label = "nothing"
    if automation is not None:
        version = newest(automation)
        before = to_yaml(definition_of(version), registry).splitlines()
        definition = align(definition, definition_of(version))
        label = f"{automation.public_id} version {version.number}"
    for line in difflib.unified_diff(before, to_yaml(definition, registry).splitlines(), label, name, lineterm=""):
        say(line)
    return DONE


def _refused(name: str, refusal: Refusal, say: Say) -> int:
    problems = refusal.details.get("problems")
    if problems:
        _say_problems(name, problems, say)
    else:
        say(f"{name}: {refusal.message}")
    return PROBLEMS


def _say_problems(name: str, problems: Iterable[dict[str, Any]], say: Say) -> None:
    """One line each, in the form that editors jump to."""
    for problem in problems:
        place = f"{name}:{problem['line']}" if problem["line"] else name
        where = f" (at {problem['path']})" if problem["path"] and not problem["line"] else ""
        help_text = f" {problem['help']}" if problem["help"] else ""
        say(f"{place}: {problem['severity']}: {problem['message']}{help_text}{where} [{problem['code']}]")
