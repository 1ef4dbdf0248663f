"""Django's entry to the app."""

from django.apps import AppConfig

PACKAGES = ("actions", "triggers", "roots", "gateways")


class BillingConfig(AppConfig):
    """See DESIGN 2 for what lives here."""

    name = "billing"

    def ready(self) -> None:
        """Plug in: declarations into the registry, and what `accounts` and the worker call (DESIGN 2, 5.5)."""
        from automations.engine.registry import registry
        from billing import plug

        for package in PACKAGES:
            registry.walk(f"billing.{package}")
        plug.connect()
