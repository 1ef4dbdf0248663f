"""The project as an app: commands of the installation, the queue's key and its schedules."""

from typing import Any

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate


class ConfigConfig(AppConfig):
    """Has no models."""

    name = "config"
    verbose_name = "Installation"

    def ready(self) -> None:
        """Sign the queue with its own key; keep its schedules after each migrate."""
        from config.queue import use_own_key

        use_own_key()
        post_migrate.connect(_keep_schedules, sender=apps.get_app_config("django_q"))


def _keep_schedules(**kwargs: Any) -> None:
    from config.queue import keep_schedules

    keep_schedules()
