"""Which workspace a command works in, and what a wrong use is."""

from __future__ import annotations

import sys
from pathlib import Path

from django.conf import settings

from accounts.actor import Actor
from accounts.models import Workspace
from accounts.permissions import ALL_SCOPES

DONE, PROBLEMS, WRONG_USE = 0, 1, 2


class WrongUse(Exception):
    """The command cannot be done as it was asked for; the text says how to ask."""


def workspace_named(slug: str | None) -> Workspace:
    """The workspace of `--workspace`, else of ONWARD_WORKSPACE, else the only one there is."""
    slug = slug or getattr(settings, "ONWARD_WORKSPACE", "") or None
    some = list(Workspace.objects.order_by("slug")[:50] if slug is None else Workspace.objects.filter(slug=slug))
    if len(some) == 1:
        return some[0]
    known = ", ".join(Workspace.objects.order_by("slug").values_list("slug", flat=True)[:50]) or "none yet"
    if slug is not None:
        raise WrongUse(f"There is no workspace “{slug}”; there are: {known}.")
    raise WrongUse(f"Say which workspace, by --workspace or ONWARD_WORKSPACE; there are: {known}.")


def actor_in(workspace: Workspace) -> Actor:
    """Whoever can run the command can do everything; the audit log says that it was the command line."""
    return Actor(workspace.pk, ALL_SCOPES, label="command line")


def text_of(name: str) -> str:
    """The text of a file, or of the standard input for `-`."""
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise WrongUse(f"{name} cannot be read: {error.strerror}.") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise WrongUse(f"{name} is no UTF-8 text: byte {error.start} cannot be read.") from error


def format_of(name: str) -> str | None:
    """`json` or `yaml` by the file's ending; None lets the reader find out."""
    ending = Path(name).suffix.lower()
    return {".json": "json", ".yaml": "yaml", ".yml": "yaml"}.get(ending)
