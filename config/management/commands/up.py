"""`manage.py up`: PostgreSQL, web, workers, qcluster and mailbox under one parent (CONTRACTS 2)."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config import up
from config.folder import FolderError
from config.server_account import ClusterError


class Command(BaseCommand):
    """Runs until Ctrl-C."""

    help = "Start everything: PostgreSQL, migrations, the demo workspace once, web, workers, queue and mailbox."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Exit 1 with one sentence where something is in the way."""
        try:
            up.run(lambda line: self.stdout.write(line, ending="\n"))
        except (up.CannotStart, FolderError, ClusterError) as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            self.stdout.write("Stopped.")
