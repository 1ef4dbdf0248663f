"""Django's entry to the app."""

from importlib import import_module
from importlib.util import find_spec

from django.apps import AppConfig

PACKAGES = ["steps", "actions", "triggers", "roots", "channels"]
LISTENERS = "automations.services.listeners"


class AutomationsConfig(AppConfig):
    """See DESIGN 2 for what lives here."""

    name = "automations"

    def ready(self) -> None:
        """Fill the registry with what the app declares, and begin to hear what `accounts` announces (DESIGN 2, 5.5)."""
        from automations.engine.registry import registry

        for package in PACKAGES:
            try:
                registry.walk(f"automations.{package}")
            except ImportError as error:  # INTERIM while parts are being written side by side
                print(f"INTERIM automations.{package}: {error}", file=__import__("sys").stderr)
        if find_spec(LISTENERS):
            import_module(LISTENERS).connect()
