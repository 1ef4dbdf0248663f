"""Registries, filled by walking packages as the admin finds `admin.py`: no list is edited to add one (DESIGN 2).

Every module of a walked package is imported, and each module-level instance of a kind is registered under its key.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from automations.engine.kinds import Action, Channel, ControlStep, Gateway, Kind, Query, Root, Trigger


class DuplicateKey(ValueError):
    """Two declarations bear one key."""


@dataclass
class Registry:
    """All kinds of one installation. Treat as read-only once walked."""

    steps: dict[str, ControlStep] = field(default_factory=dict)
    actions: dict[str, Action] = field(default_factory=dict)
    triggers: dict[str, Trigger] = field(default_factory=dict)
    roots: dict[str, Root] = field(default_factory=dict)
    queries: dict[str, Query] = field(default_factory=dict)
    channels: dict[str, Channel] = field(default_factory=dict)
    gateways: dict[str, Gateway] = field(default_factory=dict)

    def kind(self, type_: str) -> Kind | None:
        """The control step or action of that key."""
        return self.steps.get(type_) or self.actions.get(type_)

    def add(self, item: Any) -> None:
        """Register one instance of a kind."""
        for family, table, key in (
            (ControlStep, self.steps, "key"),
            (Action, self.actions, "key"),
            (Trigger, self.triggers, "key"),
            (Root, self.roots, "name"),
            (Query, self.queries, "name"),
            (Channel, self.channels, "kind"),
            (Gateway, self.gateways, "key"),
        ):
            if isinstance(item, family):
                self._put(table, getattr(item, key), item)

    @staticmethod
    def _put(table: dict[str, Any], key: str, item: Any) -> None:
        if table.get(key, item) is not item:
            raise DuplicateKey(f"Two declarations bear the key “{key}”: {type(table[key])} and {type(item)}.")
        table[key] = item

    def walk(self, package: str) -> None:
        """Import every module of `package` and register the instances it defines at module level."""
        for module in _modules(package):
            for value in list(vars(module).values()):
                if isinstance(value, (Kind, Trigger, Root, Query, Channel, Gateway)):
                    self.add(value)


def _modules(package: str) -> Iterator[ModuleType]:
    found = importlib.import_module(package)
    yield found
    for info in sorted(pkgutil.iter_modules(found.__path__), key=lambda info: info.name):
        yield importlib.import_module(f"{package}.{info.name}")


#: The registry of this process. `automations` and `billing` fill it when Django starts (`AppConfig.ready`).
registry = Registry()
