"""Django's entry to the app."""

from django.apps import AppConfig

PACKAGES = ["actions", "triggers", "roots", "gateways"]


class BillingConfig(AppConfig):
    """See DESIGN 2 for what lives here."""

    name = "billing"

    def ready(self) -> None:
        """Plug what billing declares into the engine's registry (DESIGN 2)."""
        from automations.engine.registry import registry

        for package in PACKAGES:
            registry.walk(f"billing.{package}")
