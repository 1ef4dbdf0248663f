"""Django's entry to the app."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """See DESIGN 2 for what lives here."""

    name = "accounts"
