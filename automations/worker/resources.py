"""Records that steps name, read in bulk and within one workspace (`kinds.Need`, `Scope.resource`).

Each kind has one loader; other modules add theirs with `@loader("tag")`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from django.db import connection

from accounts.ids import read_id
from accounts.prepared import prepared
from accounts.services.consent import suppressed
from automations.engine.kinds import Need
from automations.models import EmailTemplate, MailText

Keys = Sequence[str | None]
Loader = Callable[[int, Keys], Mapping[str | None, Any]]
_loaders: dict[str, Loader] = {}


def loader(kind: str) -> Callable[[Loader], Loader]:
    """Register how records of a kind are read: `(workspace id, keys) -> {key: plain data}`, absent keys for unknown
    ones."""

    def register(load: Loader) -> Loader:
        _loaders[kind] = load
        return load

    return register


def load_resources(workspace_id: int, needs: Iterable[Need]) -> dict[tuple[str, str | None], Any]:
    """Every need with its record, None where the workspace has none. A fixed few queries for each kind."""
    keys: dict[str, set[str | None]] = defaultdict(set)
    for need in needs:
        keys[need.kind].add(need.key)
    found: dict[tuple[str, str | None], Any] = {}
    for kind, wanted in sorted(keys.items()):  # in one order in every process, whatever the order of a set
        records = _loaders[kind](workspace_id, sorted(wanted, key=str)) if kind in _loaders else {}
        found.update({(kind, key): records.get(key) for key in wanted})
    return found


def text_hash(body: str) -> str:
    """The name under which a body is kept."""
    return hashlib.sha256(body.encode()).hexdigest()


@loader("email_template")
def _email_templates(workspace_id: int, keys: Keys) -> Mapping[str | None, Any]:
    """Templates by slug. Their bodies are kept by hash first, so that a mail already queued keeps the text it was
    queued with."""
    rows = EmailTemplate.objects.filter(workspace_id=workspace_id, slug__in=[key for key in keys if key])
    found: dict[str | None, Any] = {
        row.slug: {"subject": row.subject, "body": row.body, "kind": row.kind, "text": text_hash(row.body)}
        for row in rows
    }
    keep_texts(workspace_id, [data["body"] for data in found.values()])
    return found


def keep_texts(workspace_id: int, bodies: Iterable[str]) -> None:
    """Keep these bodies for ever, each once; they are never changed."""
    wanted = {text_hash(body): body for body in bodies}
    known = MailText.objects.filter(workspace_id=workspace_id, sha256__in=wanted).values_list("sha256", flat=True)
    missing = wanted.keys() - set(known)
    if missing:
        MailText.objects.bulk_create(
            [MailText(workspace_id=workspace_id, sha256=name, body=wanted[name]) for name in sorted(missing)],
            ignore_conflicts=True,
        )


def load_texts(wanted: Iterable[tuple[int, str]]) -> dict[tuple[int, str], str]:
    """Kept bodies by workspace and hash, in one query."""
    pairs = sorted(set(wanted))
    if not pairs:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT workspace_id, sha256, body FROM automations_mailtext JOIN unnest(%s::bigint[], %s::text[]) "
            "AS u(workspace_id, sha256) USING (workspace_id, sha256)",
            [[pair[0] for pair in pairs], [pair[1] for pair in pairs]],
        )
        return {(workspace, name): body for workspace, name, body in cursor.fetchall()}


@loader("sender")
def _senders(workspace_id: int, keys: Keys) -> Mapping[str | None, Any]:
    """Verified senders by address or id; None is the default one (EML-05)."""
    with prepared() as cursor:
        cursor.execute(_SENDERS, [workspace_id])
        rows = cursor.fetchall()
    found: dict[str | None, Any] = {}
    by_id: dict[int, Any] = {}
    for pk, name, address, default in rows:
        data = {"id": f"snd_{pk}", "name": name, "address": address}
        found[address.lower()] = by_id[pk] = data
        if default:
            found[None] = data
    return {key: _sender(key, found, by_id) for key in keys}


def _sender(key: str | None, found: Mapping[str | None, Any], by_id: Mapping[int, Any]) -> Any:
    if key is None:
        return found.get(None)
    number = read_id("snd", key)
    return by_id.get(number) if number is not None else found.get(key.strip().lower())


@loader("consent")
def _consent(workspace_id: int, keys: Keys) -> Mapping[str | None, Any]:
    """By address: data for one that must not be mailed, nothing for any other (SUP-09)."""
    silent = suppressed(workspace_id, [key for key in keys if key])
    return {key: {"state": "unsubscribed"} for key in keys if key and key.strip().lower() in silent}


@loader("mail_plan")
def _mail_plan(workspace_id: int, keys: Keys) -> Mapping[str | None, Any]:
    """How many customer mails a month the plan of the workspace allows; None is any number (LIM-07)."""
    with prepared() as cursor:
        cursor.execute(_MAIL_PLAN, [workspace_id])
        row = cursor.fetchone()
    return {None: {"monthly": row[0] if row else None}}


# Asked by every batch that mails: planned once for each connection.
_SENDERS = """
select id, name, address, "default" from automations_sender where workspace_id = (select %s::bigint) and verified_at is not null
"""
_MAIL_PLAN = """
select p.monthly_emails from accounts_workspace w join accounts_plan p on p.slug = w.plan where w.id = (select %s::bigint)
"""
