"""Objects that a request names, as the subjects of a run (CONTRACTS 7, 8)."""

from __future__ import annotations

from collections.abc import Mapping

from accounts.errors import Refusal
from automations.engine.registry import registry

#: From the narrowest: an invoice brings its subscription and its customer.
ORDER = ("invoice", "subscription", "customer")
Ref = int | Mapping[str, str]


def resolve_subjects(workspace_id: int, refs: Mapping[str, Ref]) -> dict[str, int]:
    """Ids of everything named and of what it brings along. Unknown objects are `unknown_reference`, and objects that belong to
    two customers are `customer_conflict`."""
    subjects: dict[str, int] = {}
    for name in ORDER:
        if name not in refs:
            continue
        found = registry.roots[name].resolve(workspace_id, [refs[name]])[0] if name in registry.roots else None
        if found is None:
            raise Refusal(
                "unknown_reference",
                f"There is no {name} {_shown(name, refs[name])} in this workspace.",
                {"subject": name},
            )
        for other, number in found.items():
            if subjects.setdefault(other, number) != number:
                raise Refusal(
                    "customer_conflict", f"The {name} belongs to another {other} than the rest.", {"subject": name}
                )
    return subjects


def _shown(name: str, ref: Ref) -> str:
    if isinstance(ref, int):
        return f"{registry.roots[name].prefix if name in registry.roots else name}_{ref}"
    return "with " + " and ".join(f"{key} “{value[:60]}”" for key, value in ref.items())
