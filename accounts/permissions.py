"""The one table of roles and scopes: pages, REST, services and tests read it here (CONTRACTS 8)."""

from __future__ import annotations

from collections.abc import Iterable

SCOPES = ("read", "events", "customers", "billing", "operate", "edit", "publish", "admin")

_VIEWER = frozenset({"read"})
_OPERATOR = _VIEWER | {"events", "customers", "billing", "operate"}
_EDITOR = _OPERATOR | {"edit"}
_PUBLISHER = _EDITOR | {"publish"}

ROLES: dict[str, frozenset[str]] = {
    "viewer": _VIEWER,
    "operator": _OPERATOR,
    "editor": _EDITOR,
    "publisher": _PUBLISHER,
    "owner": _PUBLISHER | {"admin"},
}
ALL_SCOPES = frozenset(SCOPES)


def scopes_of(role: str) -> frozenset[str]:
    """What a member with this role may do; an unknown role may do nothing."""
    return ROLES.get(role, frozenset())


def roles_with(scope: str) -> list[str]:
    """Roles that have a scope, the least powerful first; for messages and documentation."""
    return [role for role, scopes in ROLES.items() if scope in scopes]


def excess(wanted: Iterable[str], own: frozenset[str]) -> list[str]:
    """Scopes asked for that the asker does not have: an API key never gets more than its maker (CONTRACTS 8)."""
    return [scope for scope in SCOPES if scope in set(wanted) and scope not in own]
