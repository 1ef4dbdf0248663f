"""API keys: `ow_<prefix>_<secret>`, shown once (CONTRACTS 8, RELIABILITY 5)."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from accounts import audit
from accounts.actor import Actor
from accounts.clock import real_now
from accounts.errors import Refusal, not_found
from accounts.ids import public_id
from accounts.models import ApiKey
from accounts.permissions import SCOPES, excess
from accounts.services.fields import Wrong, clean_text, refused_fields
from accounts.services.installation import random_text


def secret_hash(secret: str) -> str:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def create_api_key(
    *, actor: Actor, name: str, scopes: Sequence[str], expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """A new key and its full text, which cannot be read again. Its scopes are at most those of its maker
    (`role_missing`)."""
    actor.require("admin")
    name, wanted = _clean_name(name), _clean_scopes(scopes)
    more = excess(wanted, actor.scopes)
    if more:
        message = f"You may give a key only what you may do yourself; {', '.join(more)} is more."
        raise Refusal("scope_missing" if actor.key_id else "role_missing", message, {"scopes": more})
    with transaction.atomic():
        if expires_at is not None and expires_at <= real_now():
            raise refused_fields({"expiresAt": ["lies in the past"]})
        secret = secrets.token_urlsafe(32)
        key = ApiKey.objects.create(
            workspace_id=actor.workspace_id,
            name=name,
            prefix=random_text(12),
            secret_sha256=secret_hash(secret),
            scopes=wanted,
            made_by_id=actor.user_id or _maker_of(actor),
            expires_at=expires_at,
        )
        audit.record(actor, "api_key.create", key.public_id, after={"name": name, "scopes": wanted})
    return key, f"ow_{key.prefix}_{secret}"


def _maker_of(actor: Actor) -> int | None:
    """A key made with a key belongs to the person who made that one, so that a narrowed role narrows both."""
    if actor.key_id is None:
        return None
    return ApiKey.objects.filter(pk=actor.key_id).values_list("made_by_id", flat=True).first()


def _clean_name(name: str) -> str:
    try:
        text = clean_text(name, 100)
        if not text:
            raise Wrong("must not be empty")
    except Wrong as wrong:
        raise refused_fields({"name": [str(wrong)]}) from None
    return text


def _clean_scopes(scopes: Sequence[str]) -> list[str]:
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise refused_fields({"scopes": [f"must be some of {', '.join(SCOPES)}"]})
    return [scope for scope in SCOPES if scope in set(scopes)]


def revoke_api_key(*, actor: Actor, key_id: int) -> ApiKey:
    """End a key at once. Revoking twice is the same as once."""
    actor.require("admin")
    with transaction.atomic():
        keys = ApiKey.objects.filter(workspace_id=actor.workspace_id).select_for_update()
        key = keys.filter(pk=key_id).first()
        if key is None:
            raise not_found("API key", public_id("key", key_id))
        if key.revoked_at is None:
            _revoke(actor, key)
    return key


def _revoke(actor: Actor, key: ApiKey) -> None:
    key.revoked_at = real_now()
    key.save(update_fields=["revoked_at"])
    audit.record(actor, "api_key.revoke", key.public_id)


def narrow_keys(actor: Actor, user_id: int, allowed: frozenset[str]) -> None:
    """Take from a person's keys the scopes that the person has no more; a key with none left is revoked."""
    keys = ApiKey.objects.filter(workspace_id=actor.workspace_id, made_by=user_id, revoked_at=None)
    for key in keys.order_by("id").select_for_update():
        kept = [scope for scope in key.scopes if scope in allowed]
        if not kept:
            _revoke(actor, key)
        elif kept != key.scopes:
            audit.record(actor, "api_key.narrow", key.public_id, {"scopes": key.scopes}, {"scopes": kept})
            key.scopes = kept
            key.save(update_fields=["scopes"])
