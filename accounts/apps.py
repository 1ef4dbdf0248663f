"""Django's entry to the app."""

from typing import Any

from django.apps import AppConfig
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate


class AccountsConfig(AppConfig):
    """See DESIGN 2 for what lives here."""

    name = "accounts"

    def ready(self) -> None:
        """A database emptied by `flush` gets back the rows that migration 0002 made; connections read times quickly."""
        from accounts.timestamps import read_quickly

        connection_created.connect(read_quickly, dispatch_uid="accounts.timestamps")
        post_migrate.connect(_restore_rows, sender=self, dispatch_uid="accounts.rows")


def _restore_rows(**kwargs: Any) -> None:
    from accounts.services.installation import ensure_rows

    ensure_rows(kwargs.get("using", "default"))
