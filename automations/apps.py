"""Django's entry to the app."""

from django.apps import AppConfig


class AutomationsConfig(AppConfig):
    """See DESIGN 2 for what lives here."""

    name = "automations"
