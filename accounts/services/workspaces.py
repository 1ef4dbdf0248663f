"""Workspaces, their members and roles."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction

from accounts import audit
from accounts.actor import Actor, system_actor
from accounts.announcements import Announcement, announce
from accounts.errors import Refusal, not_found
from accounts.ids import public_id
from accounts.models import Membership, Plan, User, Workspace
from accounts.permissions import ROLES, scopes_of
from accounts.services.fields import CLEANERS, Wrong, camel, clean_slug, clean_text, clean_zone, refused_fields
from accounts.services.keys import narrow_keys
from accounts.services.stages import make_default_funnel

MOST_DEFAULTS = 64 * 1024


def signing_secret() -> str:
    """A webhook signing secret as Standard Webhooks writes it."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


def create_workspace(
    *,
    name: str,
    owner: User | None,
    slug: str = "",
    currency: str = "EUR",
    time_zone: str = "UTC",
    plan: str = "PRO",
) -> Workspace:
    """A new tenant: owner, default funnel, signing secret, plan PRO (C-17). `workspace.created` lets the upper apps add
    what they need (sender, e-mail templates). `conflict` when the slug is taken."""
    values = _clean({"name": name, "currency": currency, "time_zone": time_zone, "plan": plan})
    slug = clean_slug(slug or name, "workspace")
    try:
        with transaction.atomic():
            workspace = Workspace.objects.create(slug=slug, webhook_secret=signing_secret(), **values)
            if owner is not None:
                Membership.objects.create(workspace=workspace, user=owner, role="owner")
            make_default_funnel(workspace.pk)
            audit.record(system_actor(workspace.pk), "workspace.create", workspace.public_id, after={"slug": slug})
            data = {"owner": None if owner is None else owner.pk}
            announce(Announcement("workspace.created", workspace.pk, None, data))
    except IntegrityError as error:
        if "slug" not in str(error):
            raise
        message = f"There is a workspace “{slug}” already; choose another slug."
        raise Refusal("conflict", message, {"slug": slug}) from None
    return workspace


def update_workspace(*, actor: Actor, changes: Mapping[str, Any]) -> Workspace:
    """Change `name`, `currency`, `time_zone`, `plan`, `defaults` (merged key by key, null removes one) or, with
    `rotate_webhook_secret`, the signing secret. `workspace.updated` lets the upper apps follow: the fire times of
    schedules move with the zone (TRG-16)."""
    actor.require("admin")
    changes = dict(changes)
    rotate = changes.pop("rotate_webhook_secret", False)
    values = _clean(changes)
    with transaction.atomic():
        workspace = Workspace.objects.select_for_update(no_key=True).get(pk=actor.workspace_id)
        if "defaults" in values:
            merged = {**workspace.defaults, **values["defaults"]}
            values["defaults"] = {key: value for key, value in merged.items() if value is not None}
        before = {key: getattr(workspace, key) for key in values}
        for key, value in values.items():
            setattr(workspace, key, value)
        if rotate:
            workspace.webhook_secret = signing_secret()
        workspace.save()
        after = {camel(key): value for key, value in values.items()} | ({"webhookSecret": "changed"} if rotate else {})
        shown = {camel(key): value for key, value in before.items()}
        audit.record(actor, "workspace.update", workspace.public_id, shown, after)
        changed = sorted(key for key, value in values.items() if value != before[key])
        if changed:
            announce(Announcement("workspace.updated", workspace.pk, None, {"changed": changed, "before": before}))
    return workspace


def _clean(values: Mapping[str, Any]) -> dict[str, Any]:
    wrong: dict[str, list[str]] = {}
    clean: dict[str, Any] = {}
    for key, value in values.items():
        try:
            clean[key] = _FIELDS[key](value)
        except Wrong as error:
            wrong[camel(key)] = [str(error)]
    if wrong:
        raise refused_fields(wrong)
    return clean


def _name(value: Any) -> str:
    name = clean_text(value, 200)
    if not name:
        raise Wrong("must not be empty")
    return name


def _zone(value: Any) -> str:
    zone = clean_zone(value)
    if not zone:
        raise Wrong("must not be empty; write for instance Europe/Berlin")
    return zone


def _currency(value: Any) -> str:
    text = clean_text(value, 3).upper()
    if not (len(text) == 3 and text.isascii() and text.isalpha()):
        raise Wrong("must be a currency code of three letters, for instance EUR")
    return text


def _plan(value: Any) -> str:
    slugs = list(Plan.objects.order_by("order").values_list("slug", flat=True))
    if value not in slugs:
        raise Wrong(f"must be one of {', '.join(slugs)}")
    return str(value)


def _defaults(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or len(str(value)) > MOST_DEFAULTS:
        raise Wrong("must be an object of at most 64 kB")
    return dict(value)


_FIELDS = {"name": _name, "currency": _currency, "time_zone": _zone, "plan": _plan, "defaults": _defaults}


def limits_of(workspace_id: int) -> Plan:
    """The plan row of a workspace, one query (LIM-14)."""
    slug = Workspace.objects.filter(pk=workspace_id).values("plan")
    return Plan.objects.get(slug__in=slug)


def add_member(*, actor: Actor, email: str, role: str, name: str = "", password: str | None = None) -> Membership:
    """Make a person a member; a person not known yet is created. A known person's password is never touched."""
    actor.require("admin")
    address = _address(email)
    _known_role(role)
    with transaction.atomic():
        user = User.objects.filter(email=address).first() or _new_person(address, name, password)
        membership, made = Membership.objects.get_or_create(
            workspace_id=actor.workspace_id, user=user, defaults={"role": role}
        )
        if not made:
            message = f"{address} is a member already; change the role instead."
            raise Refusal("conflict", message, {"member": user.public_id})
        audit.record(actor, "member.add", user.public_id, after={"role": role})
    return membership


def _address(email: str) -> str:
    try:
        address = CLEANERS["email"](email).lower()
        if not address:
            raise Wrong("must not be empty")
    except Wrong as wrong:
        raise refused_fields({"email": [str(wrong)]}) from None
    return str(address)


def _new_person(address: str, name: str, password: str | None) -> User:
    return User.objects.create_user(address, password, name=name)


def _known_role(role: str) -> None:
    if role not in ROLES:
        raise refused_fields({"role": [f"must be one of {', '.join(ROLES)}"]})


def change_role(*, actor: Actor, user_id: int, role: str) -> Membership:
    """Give a member another role. Keys that the person made lose the scopes which the new role lacks. The last owner
    stays."""
    actor.require("admin")
    _known_role(role)
    with transaction.atomic():
        membership = _lock_member(actor, user_id, losing_owner=role != "owner")
        before, membership.role = membership.role, role
        membership.save(update_fields=["role"])
        narrow_keys(actor, user_id, scopes_of(role))
        audit.record(actor, "member.role", public_id("usr", user_id), {"role": before}, {"role": role})
    return membership


def remove_member(*, actor: Actor, user_id: int) -> None:
    """End a membership and revoke the keys that the person made. The last owner stays."""
    actor.require("admin")
    with transaction.atomic():
        membership = _lock_member(actor, user_id, losing_owner=True)
        narrow_keys(actor, user_id, frozenset())
        audit.record(actor, "member.remove", public_id("usr", user_id), before={"role": membership.role})
        membership.delete()


def _lock_member(actor: Actor, user_id: int, *, losing_owner: bool) -> Membership:
    """Locks all owners with the member, so that two owners cannot remove each other at once."""
    rows = Membership.objects.filter(workspace_id=actor.workspace_id).order_by("id").select_for_update()
    members = {row.user_id: row for row in rows}
    if user_id not in members:
        raise not_found("member", public_id("usr", user_id))
    owners = [row for row in members.values() if row.role == "owner"]
    if losing_owner and owners == [members[user_id]]:
        raise Refusal("wrong_state", "A workspace keeps at least one owner; make somebody else an owner first.")
    return members[user_id]


def member_actor(user: User, workspace: Workspace) -> Actor | None:
    """The actor that a signed-in person is in a workspace; None without membership (the same as an unknown
    workspace)."""
    membership = Membership.objects.filter(workspace=workspace, user=user).first()
    if membership is None or not user.is_active:
        return None
    return Actor(workspace.pk, scopes_of(membership.role), user_id=user.pk, label=user.email)
