"""Django's entry to the app."""

from django.apps import AppConfig


class BillingConfig(AppConfig):
    """See DESIGN 2 for what lives here."""

    name = "billing"
