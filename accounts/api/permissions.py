"""The scope that a view asks for, checked against the actor (CONTRACTS 8). Services check it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts.errors import Refusal

if TYPE_CHECKING:  # importing it here would be circular: the framework reads its settings while loading
    from rest_framework.views import APIView


class ScopePermission(BasePermission):
    """Raises the refusal itself, so that the answer names the missing scope or role."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Without an actor `unauthenticated`. A view that declares no scope is refused to everybody."""
        actor = getattr(request, "actor", None)
        if actor is None:
            raise Refusal("unauthenticated", "Send an API key in the header Authorization: Bearer <key>, or sign in.")
        scope_for = getattr(view, "scope_for", None)
        if scope_for is None:
            return False
        scope = scope_for(request.method)
        if scope is not None:
            actor.require(scope)
        return True
