"""Django's entry to the app."""

from django.apps import AppConfig

PACKAGES = ["steps", "actions", "triggers", "roots", "channels"]


class AutomationsConfig(AppConfig):
    """See DESIGN 2 for what lives here."""

    name = "automations"

    def ready(self) -> None:
        """Fill the registry with what the app declares, and begin to hear what `accounts` announces (DESIGN 2, 5.5)."""
        from automations.engine.registry import registry
        from automations.services import listeners

        for package in PACKAGES:
            registry.walk(f"automations.{package}")
        listeners.connect()
