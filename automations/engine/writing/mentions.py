"""Which steps the texts of a definition speak of."""

from __future__ import annotations

import re

from automations.engine.definition import Definition
from automations.engine.writing.graph_data import to_data

_MENTION = re.compile(r"""steps\s*(?:\.\s*([\w-]+)|\[\s*\\*["']([^"']+?)\\*["']\s*\])""")


def spoken_of(definition: Definition) -> set[str]:
    """Ids that some text mentions as `steps.<id>`, in either spelling of names (VAR-24)."""
    names = {folded(found.group(1) or found.group(2)) for found in _MENTION.finditer(str(to_data(definition)))}
    return {node.id for node in definition.nodes if folded(node.id) in names}


def folded(name: str) -> str:
    """What camelCase and snake_case of a name have in common."""
    return name.replace("_", "").lower()
