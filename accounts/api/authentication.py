"""Who asks: a key in the Authorization header, or a signed-in browser with its CSRF token (CONTRACTS 8, EXE-09)."""

from __future__ import annotations

import re
from typing import Any, cast

from django.db import InterfaceError, OperationalError, connection
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request as FrameworkRequest

from accounts.actor import Actor
from accounts.api.keys import key_text
from accounts.api.requests import BURST, PER_SECOND, Rate, Reading, Request
from accounts.errors import Refusal, not_found
from accounts.models import Membership
from accounts.permissions import scopes_of
from accounts.prepared import prepared
from accounts.services.keys import secret_hash

_KEY = re.compile(r"ow_([a-z0-9]{12})_([A-Za-z0-9_-]{20,100})", re.ASCII)


def take_token(caller: str, per_second: float = PER_SECOND, burst: float = BURST) -> Rate:
    """Take one token from a bucket, one statement."""
    with connection.cursor() as cursor:
        cursor.execute("select allowed, tokens from onward_take_token(%s, %s, %s)", [caller, per_second, burst])
        return Rate(*cursor.fetchone())


class KeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer ow_<prefix>_<secret>`; key, use and rate in one statement, and in it what the view reads in any case."""

    def authenticate(self, request: FrameworkRequest) -> tuple[Any, Actor] | None:
        """Sets `request.actor` and `request.rate`. None without a Bearer header; a wrong, expired or revoked key is
        refused."""
        text = key_text(request._request)
        if text is None:
            return None
        match = _KEY.fullmatch(text)
        ours = cast(Request, request)
        row = _admit(match[1], match[2], ours.parser_context["view"].ahead(ours)) if match else None
        if row is None:
            raise Refusal("unauthenticated", "This API key is not known; check that it is complete.")
        number, workspace_id, _, name, scopes, problem, allowed, tokens, *read = row
        if problem:
            raise Refusal(problem, _PROBLEMS[problem])
        actor = Actor(workspace_id, frozenset(scopes), key_id=number, label=f"API key {name}")
        ours.actor, ours.rate = actor, Rate(allowed, tokens)
        ours.alongside = read if read and read[0] is not None else None
        return None, actor

    def authenticate_header(self, request: FrameworkRequest) -> str:
        """For `WWW-Authenticate`."""
        return 'Bearer realm="onward"'


_PROBLEMS = {
    "key_revoked": "This API key was revoked; ask an owner of the workspace for another.",
    "key_expired": "This API key has expired; ask an owner of the workspace for another.",
}


_ADMITTED = "onward_admit(%(prefix)s, %(secret)s, %(per_second)s, %(burst)s) asking"


def _admit(prefix: str, secret: str, reading: Reading | None) -> tuple[Any, ...] | None:
    """The first statement of a request is also the check whether its connection is alive: where that died meanwhile, it is made again on
    a new one. At worst it takes two tokens."""
    connection.health_check_done = True  # type: ignore[attr-defined]  # the stubs leave it out
    try:
        return _ask(prefix, secret, reading)
    except (OperationalError, InterfaceError):
        if connection.in_atomic_block or connection.is_usable():
            raise
        connection.close()
        return _ask(prefix, secret, reading)


def _ask(prefix: str, secret: str, reading: Reading | None) -> tuple[Any, ...] | None:
    who: dict[str, Any] = {"prefix": prefix, "secret": secret_hash(secret), "per_second": PER_SECOND, "burst": BURST}
    with prepared() as cursor:
        if reading is None:
            cursor.execute(f"select * from {_ADMITTED}", who)
        else:
            statement = f"select * from {_ADMITTED} left join lateral ({reading.statement}) alongside on true"
            cursor.execute(statement, {**who, **reading.parameters})
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row


class BrowserAuthentication(SessionAuthentication):
    """A person's session. The workspace is that of `Onward-Workspace`, else the one chosen in the session, else the
    only one."""

    def authenticate(self, request: FrameworkRequest) -> tuple[Any, Actor] | None:
        """Sets `request.actor`; `csrf_failed` when a changing request has no token, `not_found` for a foreign
        workspace."""
        try:
            found = super().authenticate(request)
        except PermissionDenied:
            raise Refusal("csrf_failed", "The page is too old or foreign; load it again and repeat.") from None
        if found is None:
            return None
        user = found[0]
        slug = request.headers.get("Onward-Workspace") or request._request.session.get("workspace")
        membership = _membership(user.pk, slug)
        actor = Actor(membership.workspace_id, scopes_of(membership.role), user_id=user.pk, label=user.email)
        cast(Request, request).actor = actor
        return user, actor


def _membership(user_id: int, slug: str | None) -> Membership:
    rows = Membership.objects.filter(user_id=user_id)
    if slug:
        row = rows.filter(workspace__slug=slug).first()
        if row is None:
            raise not_found("workspace", slug[:60])
        return row
    some = list(rows.select_related("workspace").order_by("id")[:100])
    if not some:
        raise Refusal("role_missing", "You are not a member of any workspace; ask an owner to add you.")
    if len(some) > 1:
        slugs = [row.workspace.slug for row in some]
        message = "You are a member of several workspaces; name one in the header Onward-Workspace."
        raise Refusal("choice_required", message, {"workspaces": slugs})
    return some[0]
