"""The page of one automation: its draft as YAML, its problems at their lines, and the buttons that call the services."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.http import HttpRequest

from accounts.actor import Actor
from accounts.errors import Refusal
from accounts.models import Workspace
from accounts.permissions import ALL_SCOPES
from automations.models import Automation, Version
from automations.services import drafts
from automations.services.find import draft_of
from automations.services.pause import HELD, IN_FLIGHT, InFlight, pause_automation, resume_automation, unfinished_runs
from automations.services.publish import RUNS, activate, runs_by_step
from automations.services.texts import yaml_of

MOST_CHANGES = 400  # lines
LABELS = {
    "finish": "let them finish",
    "cancel": "cancel them",
    "hold": "hold them until resume",
    "stay": "stay on their version",
    "continue": "continue with the time that was left",
    "skip": "skip what they wait for",
    "reanchor": "take the times they would have had",
}


def choices(names: Sequence[str]) -> list[tuple[str, str]]:
    """Options of a question with their labels."""
    return [(name, LABELS[name]) for name in names]


class EditorForm(forms.Form):
    """The text and the questions that its buttons ask (the same as REST)."""

    text = forms.CharField(
        label="Definition (YAML)",
        strip=False,
        widget=forms.Textarea(
            attrs={"rows": 26, "spellcheck": "false", "autocapitalize": "off", "autocomplete": "off", "wrap": "off"}
        ),
    )
    revision = forms.IntegerField(widget=forms.HiddenInput, required=False)
    runs = forms.ChoiceField(label="Runs in flight", choices=choices(RUNS), required=False)
    enrol_existing = forms.BooleanField(label="Also start runs for records that match now", required=False)
    in_flight = forms.ChoiceField(label="Runs in flight", choices=choices(IN_FLIGHT), required=False)
    held = forms.ChoiceField(label="Held runs", choices=choices(HELD), required=False)

    def clean_text(self) -> str:
        """Browsers end lines in their own way."""
        return str(self.cleaned_data["text"]).replace("\r\n", "\n")


class NewForm(EditorForm):
    """The same for an automation that is not there yet."""

    workspace = forms.ModelChoiceField(Workspace.objects.order_by("slug"), empty_label=None)


#: What a new automation begins with: it can be saved, and shows the shape.
STARTER = """\
name: New automation
trigger:
  type: event
  event: payment.failed

steps:
  - type: delay
    duration: 3d

  - type: action
    action: create_task
    title: "Call {{customer.name}}"
    message: "A payment failed three days ago."
"""


@dataclass(slots=True)
class Page:
    """What the page shows; `refusal` is why a button did nothing, `stored` whether the text is what the database has."""

    text: str
    revision: int
    problems: list[dict[str, Any]] = field(default_factory=list)
    refusal: Refusal | None = None
    done: str = ""
    stored: bool = False
    checked: bool = False

    @property
    def lines(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """The text line by line, as the problems name them, each with its problems."""
        by_line: dict[int, list[dict[str, Any]]] = {}
        for problem in self.problems:
            by_line.setdefault(problem.get("line") or 0, []).append(problem)
        return [(line, by_line.get(number, [])) for number, line in enumerate(self.text.split("\n"), 1)]

    @property
    def counted(self) -> str:
        """`2 errors and 1 warning`."""
        found = [problem["severity"] for problem in self.problems]
        parts = [numbered(found.count(name), name) for name in ("error", "warning") if name in found]
        return " and ".join(parts)


def numbered(count: int, thing: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def operator(request: HttpRequest, workspace_id: int) -> Actor:
    """An operator of the installation acts with every scope, under their own name."""
    return Actor(workspace_id, ALL_SCOPES, user_id=request.user.pk, label=str(request.user))


def edited(automation: Automation) -> Version:
    """What is shown for editing: the draft, else the active version."""
    version = draft_of(automation) or automation.active_version
    assert version is not None, "an automation without a version"
    return version


def page_of(automation: Automation) -> Page:
    """The page as it is opened: the stored text with its problems at its lines."""
    version = edited(automation)
    text = yaml_of(version)
    check = drafts.check_text(actor=Actor(automation.workspace_id, ALL_SCOPES), body=text, fmt="yaml")
    problems = [problem.as_json() for problem in check.problems]
    return Page(text, automation.draft_revision, problems, stored=True, checked=True)


def changes(automation: Automation, page: Page) -> list[tuple[str, str]]:
    """What the text would change in the active version: lines with a mark, `+`, `-` or a blank."""
    active = automation.active_version
    if active is None:
        return []
    before, after = yaml_of(active).splitlines(), page.text.splitlines()
    return [
        (line[:1] or " ", line[1:])
        for line in difflib.unified_diff(before, after, lineterm="", n=2)
        if not line.startswith(("---", "+++"))
    ][:MOST_CHANGES]


def questions(automation: Automation) -> dict[str, Any]:
    """How many runs are in flight and where they stand: the questions are asked only when there are any (PAU-10)."""
    return {"unfinished": unfinished_runs(automation), "steps": runs_by_step(automation)}


def act(actor: Actor, automation: Automation, name: str, form: EditorForm) -> Page:
    """What a button does. A refusal keeps the text that was sent and says what is wrong with it."""
    page = Page(form.cleaned_data["text"], form.cleaned_data.get("revision") or 0)
    try:
        page.done = ACTS[name](actor, automation, form, page)
    except Refusal as refusal:
        page.refusal = refusal
        page.problems = list(refusal.details.get("problems", ()))
    return page


def is_stored(automation: Automation, page: Page) -> bool:
    """Whether the database has the text that is on the screen; a refused button may have saved it first."""
    return yaml_of(edited(automation)).strip() == page.text.strip()


def _save(actor: Actor, automation: Automation, form: EditorForm, page: Page) -> str:
    revision = form.cleaned_data.get("revision")
    draft = drafts.save_draft(actor=actor, automation_id=automation.pk, body=page.text, fmt="yaml", revision=revision)
    page.revision = draft.revision
    if not draft.problems:
        return "The draft is saved. It has no problems."
    return f"The draft is saved, with {numbered(len(draft.problems), 'problem')}. What runs has not changed."


def _validate(actor: Actor, automation: Automation, form: EditorForm, page: Page) -> str:
    check = drafts.check_text(actor=actor, body=page.text, fmt="yaml")
    page.problems = [problem.as_json() for problem in check.problems]
    page.checked = True
    return ""


def _activate(actor: Actor, automation: Automation, form: EditorForm, page: Page) -> str:
    """What is on the screen is what becomes active: it is saved first when it differs from the draft."""
    draft = draft_of(automation)
    if draft is None or yaml_of(draft).strip() != page.text.strip():
        _save(actor, automation, form, page)
    runs = form.cleaned_data.get("runs") or "stay"
    enrol = bool(form.cleaned_data.get("enrol_existing"))
    before = unfinished_runs(automation)
    changed = activate(
        actor=actor, automation_id=automation.pk, runs=runs, enrol_existing=enrol, revision=page.revision or None
    )
    return f"{_in_force(changed)} {_of_runs(runs, before)}".strip()


def _in_force(automation: Automation) -> str:
    number = automation.active_version.number if automation.active_version else 0
    start = {"manual": "when it is triggered by hand or by the API", "schedule": "by its schedule"}
    trigger = start.get(automation.trigger_key, f"on {automation.trigger_key}")
    return f"Version {number} of “{automation.name}” is active: it starts {trigger}."


def _of_runs(choice: str, before: int) -> str:
    if not before:
        return ""
    fate = "cancelled" if choice == "cancel" else "on the version it began with, until its end"
    return f"{numbered(before, 'run')} under way: {fate}."


def _pause(actor: Actor, automation: Automation, form: EditorForm, page: Page) -> str:
    choice = form.cleaned_data.get("in_flight") or "finish"
    done = pause_automation(actor=actor, automation_id=automation.pk, in_flight=choice)
    parts = [f"{numbered(count, 'run')} {fate}" for count, fate in _fates(done) if count]
    return f"“{automation.name}” is paused: no run begins any more. {', '.join(parts)}{'.' if parts else ''}".strip()


def _fates(done: InFlight) -> list[tuple[int, str]]:
    going = done.unfinished - done.held
    return [(done.cancelled, "cancelled"), (done.held, "held"), (going if going > 0 else 0, "finishing")]


def _resume(actor: Actor, automation: Automation, form: EditorForm, page: Page) -> str:
    resume_automation(actor=actor, automation_id=automation.pk, held=form.cleaned_data.get("held") or None)
    return f"“{automation.name}” is active again."


ACTS: dict[str, Callable[[Actor, Automation, EditorForm, Page], str]] = {
    "save": _save,
    "validate": _validate,
    "activate": _activate,
    "pause": _pause,
    "resume": _resume,
}
