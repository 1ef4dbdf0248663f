"""`Idempotency-Key`: the same request twice is done once, and answered twice (CONTRACTS 1, RELIABILITY 33).

The whole request and its stored answer are one transaction: either both are there or neither, whatever dies when. A
second request with the key that comes while the first is running finds an advisory lock and is told so; the lock ends
with the transaction, so nothing has to be cleaned up. Refusals are not stored: they wrote nothing and may be asked
again. A request that was broken off for another's sake (a deadlock) is made again here, since it is one transaction. Long
work that follows the change is done behind the commit (`accounts.afterwards`): its locks are not held meanwhile."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from datetime import timedelta

from django.db import connection, transaction
from django.db.models.functions import Now
from django.http import HttpResponse, HttpResponseBase

from accounts.afterwards import Work, do, keeping
from accounts.api.bodies import raw_body
from accounts.api.requests import Request
from accounts.errors import Refusal
from accounts.models import Idempotency
from accounts.repeating import repeat

KEPT = timedelta(hours=24)
LONGEST_KEY = 255
STORED_HEADERS = ("Content-Type", "ETag", "Location")
# The key is hashed to 64 bits: two keys that meet there could only make each other wait.
TRY_LOCK = "select pg_try_advisory_xact_lock(hashtextextended(%s, 33))"


def key_of(request: Request) -> str | None:
    """The key sent with the request, None without one; `invalid` when it is empty or too long."""
    key: str | None = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is None:
        return None
    if not 0 < len(key) <= LONGEST_KEY or not key.isprintable():
        message = f"Idempotency-Key must have 1 to {LONGEST_KEY} printable characters."
        raise Refusal("invalid", message, {"fields": {"Idempotency-Key": [message]}})
    return key


def once(
    request: Request, key: str, handle: Callable[[], HttpResponseBase], secret: Collection[str] = ()
) -> HttpResponseBase:
    """The answer of `handle` (rendered), or the one that the key was given before. `secret` names top-level keys of the
    answer that are not stored: they are null when it is given again."""

    def attempt() -> tuple[HttpResponseBase, list[Work]]:
        with keeping() as following:
            return _once(request, key, handle, secret), following

    answer, following = attempt() if connection.in_atomic_block else repeat(attempt)
    if answer.status_code < 400:
        for work in following:
            do(work)
    return answer


def _once(
    request: Request, key: str, handle: Callable[[], HttpResponseBase], secret: Collection[str]
) -> HttpResponseBase:
    workspace_id = request.actor.workspace_id
    endpoint = f"{request.method} {request.path}"[:300]
    sha256 = hashlib.sha256(raw_body(request)).hexdigest()
    with transaction.atomic():
        if not _lock(f"{workspace_id} {endpoint} {key}"):
            message = "A request with this Idempotency-Key is still running; wait for its answer."
            raise Refusal("idempotency_in_progress", message)
        rows = Idempotency.objects.filter(workspace_id=workspace_id, endpoint=endpoint, key=key)
        stored = rows.filter(created_at__gt=Now() - KEPT).first()
        if stored is not None:
            return _again(stored, sha256)
        rows.delete()
        answer = handle()
        if answer.status_code >= 400:
            transaction.set_rollback(True)
        elif isinstance(answer, HttpResponse):
            _store(
                Idempotency(workspace_id=workspace_id, endpoint=endpoint, key=key, body_sha256=sha256), answer, secret
            )
    return answer


def _lock(name: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(TRY_LOCK, [name])
        return bool(cursor.fetchone()[0])


def _again(stored: Idempotency, sha256: str) -> HttpResponse:
    if stored.body_sha256 != sha256:
        message = "This Idempotency-Key was used with another body; use a new key for a new request."
        raise Refusal("idempotency_conflict", message)
    answer = HttpResponse(stored.answer, status=stored.status, headers=stored.headers)
    answer["Idempotent-Replayed"] = "true"
    return answer


def _store(row: Idempotency, answer: HttpResponse, secret: Collection[str]) -> None:
    text = answer.content.decode()
    if secret and text:
        text = json.dumps({**json.loads(text), **dict.fromkeys(secret)})
    row.status, row.answer = answer.status_code, text
    row.headers = {name: answer[name] for name in STORED_HEADERS if name in answer}
    row.save(force_insert=True)
