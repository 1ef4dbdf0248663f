"""Named e-mail templates: made, changed and deleted by people, checked by the one language (C-23, TPL-11, VAR-27)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction

from accounts.actor import Actor
from accounts.audit import record
from accounts.errors import Refusal, not_found
from accounts.ids import public_id
from automations.engine.expressions import ExpressionError, Names, compile_template
from automations.engine.plan import BUILT_IN, aliases
from automations.engine.registry import registry
from automations.models import EmailTemplate, Version

LONGEST_BODY = 64 * 1024  # bytes (DESIGN 6)
KINDS = ("customer", "team")
_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}", re.ASCII)
_FIELDS = ("name", "subject", "body", "kind")


def find_template(actor: Actor, template_id: int) -> EmailTemplate:
    """One of the workspace, else `not_found`."""
    found = EmailTemplate.objects.filter(workspace_id=actor.workspace_id, pk=template_id).first()
    if found is None:
        raise not_found("e-mail template", public_id("tmpl", template_id))
    return found


def create_template(
    *, actor: Actor, slug: str, subject: str, body: str, name: str = "", kind: str = "customer"
) -> EmailTemplate:
    """A new text under a slug of its own. `invalid` names the fields that cannot be accepted, `conflict` a taken
    slug."""
    actor.require("edit")
    values = {"name": (name or slug).strip(), "subject": subject, "body": body, "kind": kind}
    problems = _problems(values)
    if not _SLUG.fullmatch(slug):
        problems["slug"] = ["must be lower-case letters, digits, - and _, at most 100"]
    _refuse(problems)
    try:
        with transaction.atomic():
            made = EmailTemplate.objects.create(workspace_id=actor.workspace_id, slug=slug, **values)
            record(actor, "email_template.create", public_id("tmpl", made.pk), None, {"slug": slug})
    except IntegrityError:
        raise Refusal(
            "conflict", f"There is an e-mail template “{slug}” already; choose another slug.", {"slug": slug}
        ) from None
    return made


@transaction.atomic
def update_template(*, actor: Actor, template_id: int, changes: Mapping[str, Any]) -> EmailTemplate:
    """Change name, subject, body or kind. Mails that are queued keep the text they were queued with."""
    actor.require("edit")
    found = EmailTemplate.objects.select_for_update(no_key=True).filter(
        workspace_id=actor.workspace_id, pk=template_id
    ).first() or find_template(actor, template_id)
    values = {name: changes[name] for name in _FIELDS if name in changes}
    _refuse(_problems(values))
    before = {name: getattr(found, name) for name in values if name != "body"}
    for name, value in values.items():
        setattr(found, name, value)
    found.save()
    after = {name: value for name, value in values.items() if name != "body"}
    record(actor, "email_template.update", public_id("tmpl", found.pk), before, after | {"changed": sorted(values)})
    return found


@transaction.atomic
def delete_template(*, actor: Actor, template_id: int) -> None:
    """Delete one that no draft and no version in use names; else `conflict` with the automations."""
    actor.require("edit")
    found = find_template(actor, template_id)
    users = users_of(found)
    if users:
        raise Refusal(
            "conflict",
            f"“{found.slug}” is used by {', '.join(users.values())}; choose another template there first.",
            {"automations": list(users)},
        )
    found.delete()
    record(actor, "email_template.delete", public_id("tmpl", template_id), {"slug": found.slug}, None)


def users_of(template: EmailTemplate) -> dict[str, str]:
    """Automations whose draft or active version names it, id and name."""
    versions = Version.objects.filter(
        workspace_id=template.workspace_id,
        state__in=("draft", "active"),
        definition__contains={"nodes": [{"config": {"template": template.slug}}]},
    )
    rows = versions.order_by("automation_id").values_list("automation_id", "automation__name")
    return {public_id("auto", pk): name for pk, name in rows}


def template_names() -> Names:
    """The names that a template may use wherever it is named: every root, and bare facts."""
    return Names(frozenset(registry.roots) | BUILT_IN, aliases(registry))


def _problems(values: Mapping[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for field, place, longest in (("subject", "header", 500), ("body", "html", LONGEST_BODY)):
        if field in values:
            problem = _text_problem(str(values[field]), place, longest)
            if problem:
                found[field] = [problem]
    if "name" in values and not 0 < len(values["name"].strip()) <= 200:
        found["name"] = ["must have 1 to 200 characters"]
    if values.get("kind", "customer") not in KINDS:
        found["kind"] = [f"must be {' or '.join(KINDS)}"]
    return found


def _text_problem(text: str, place: str, longest: int) -> str:
    if not text.strip():
        return "must not be empty"
    if len(text.encode()) > longest:
        return f"must not be longer than {longest} bytes"
    if "\x00" in text:
        return "must not contain a NUL character"
    try:
        compile_template(text, template_names(), place)
    except ExpressionError as error:
        return str(error)
    return ""


def _refuse(problems: Mapping[str, list[str]]) -> None:
    if problems:
        field, (first, *_) = next(iter(problems.items()))
        raise Refusal("invalid", f"{field}: {first}.", {"fields": dict(problems)})
