"""Which automation a file or an argument means."""

from __future__ import annotations

from accounts.actor import Actor
from accounts.errors import Refusal
from accounts.ids import read_id
from automations.commandline.setting import WrongUse
from automations.engine.definition import Definition
from automations.models import Automation, Version
from automations.services.find import automations_of, draft_of, find_automation


def named(actor: Actor, name: str) -> Automation | None:
    """The automation with that id or key; None when the name is neither."""
    number = read_id("auto", name)
    if number is not None:
        try:
            return find_automation(actor, number)
        except Refusal as refusal:
            raise WrongUse(refusal.message) from refusal
    return automations_of(actor).exclude(key="").filter(key=name).select_related("active_version").first()


def meant_by(actor: Actor, definition: Definition) -> Automation | None:
    """The automation that a file is about: the one with its key, else the only one with its name, else none yet."""
    if definition.key:
        found = automations_of(actor).filter(key=definition.key).first()
        if found is not None:
            return found
    alike = list(automations_of(actor).filter(name=definition.name).order_by("pk")[:10])
    if len(alike) > 1:
        ids = ", ".join(automation.public_id for automation in alike)
        raise WrongUse(f"Several automations are called “{definition.name}” ({ids}); give the file a key.")
    return alike[0] if alike else None


def newest(automation: Automation) -> Version:
    """What a file is compared with: the draft, else the active version."""
    version = draft_of(automation) or automation.active_version
    assert version is not None, "an automation without a version"
    return version
