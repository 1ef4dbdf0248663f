"""The page of one automation: its draft as YAML, its problems at their lines, and the buttons that call the services."""

from __future__ import annotations

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
from automations.services.pause import HELD, IN_FLIGHT, pause_automation, resume_automation, unfinished_runs
from automations.services.publish import RUNS, activate, runs_by_step
from automations.services.texts import yaml_of

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
        widget=forms.Textarea(attrs={"rows": 30, "cols": 110, "spellcheck": "false"}),
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

    workspace = forms.ModelChoiceField(Workspace.objects.order_by("slug"))


@dataclass(slots=True)
class Page:
    """What the page shows; `refusal` is why a button did nothing."""

    text: str
    revision: int
    problems: list[dict[str, Any]] = field(default_factory=list)
    refusal: Refusal | None = None
    done: str = ""

    @property
    def lines(self) -> list[str]:
        """The text line by line, as the problems name them."""
        return self.text.splitlines()


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
    return Page(text, automation.draft_revision, [problem.as_json() for problem in check.problems])


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


def _save(actor: Actor, automation: Automation, form: EditorForm, page: Page) -> str:
    revision = form.cleaned_data.get("revision")
    draft = drafts.save_draft(actor=actor, automation_id=automation.pk, body=page.text, fmt="yaml", revision=revision)
    page.revision = draft.revision
    return f"The draft is saved with {len(draft.problems) or 'no'} problems."


def _validate(actor: Actor, automation: Automation, form: EditorForm, page: Page) -> str:
    check = drafts.check_text(actor=actor, body=page.text, fmt="yaml")
    page.problems = [problem.as_json() for problem in check.problems]
    return ""


def _activate(actor: Actor, automation: Automation, form: EditorForm, page: Page) -> str:
    """What is on the screen is what becomes active: it is saved first when it differs from the draft."""
    draft = draft_of(automation)
    if draft is None or yaml_of(draft).strip() != page.text.strip():
        _save(actor, automation, form, page)
    runs = form.cleaned_data.get("runs") or "stay"
    enrol = bool(form.cleaned_data.get("enrol_existing"))
    changed = activate(
        actor=actor, automation_id=automation.pk, runs=runs, enrol_existing=enrol, revision=page.revision or None
    )
    return f"“{changed.name}” is active."


def _pause(actor: Actor, automation: Automation, form: EditorForm, page: Page) -> str:
    choice = form.cleaned_data.get("in_flight") or "finish"
    done = pause_automation(actor=actor, automation_id=automation.pk, in_flight=choice)
    return f"“{automation.name}” is paused; {done.unfinished} runs are unfinished, {done.cancelled} were cancelled, {done.held} held."


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
