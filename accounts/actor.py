"""Who asks: a person in a workspace, an API key, or the system itself."""

from __future__ import annotations

from dataclasses import dataclass

from accounts.errors import Refusal
from accounts.permissions import ALL_SCOPES, roles_with


@dataclass(frozen=True, slots=True)
class Actor:
    """Handed to every service that a person or program can ask. `run_id`: the run on whose behalf the system acts."""

    workspace_id: int
    scopes: frozenset[str]
    user_id: int | None = None
    key_id: int | None = None
    run_id: int | None = None
    label: str = ""

    def require(self, scope: str) -> None:
        """Nothing when the actor has it; else `scope_missing` for a key, `role_missing` for a person (CONTRACTS 8)."""
        if scope in self.scopes:
            return
        roles = roles_with(scope)
        details = {"scope": scope, "roles": roles}
        if self.key_id is not None:
            raise Refusal("scope_missing", f"This needs an API key with the scope “{scope}”.", details)
        raise Refusal("role_missing", f"This needs the role {' or '.join(roles)} in the workspace.", details)


def system_actor(workspace_id: int, run_id: int | None = None) -> Actor:
    """The product itself: workers, commands, set-up."""
    label = "system" if run_id is None else f"exec_{run_id}"
    return Actor(workspace_id, ALL_SCOPES, run_id=run_id, label=label)
