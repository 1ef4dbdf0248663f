"""`manage.py demo`: the demo workspace Northwind Cloud, once (CONTRACTS 2)."""

from __future__ import annotations

import secrets
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from accounts.errors import Refusal
from accounts.models import User, Workspace
from billing.demo.northwind import OWNER, SLUG, make_demo
from billing.demo.removal import remove_workspace
from config.folder import write_private
from config.up import CREDENTIALS


class Command(BaseCommand):
    """Fill a workspace with believable customers, subscriptions and invoices by doing what users do."""

    help = "Make the demo workspace Northwind Cloud; its sign-in and API key are kept in the data folder."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--reset", action="store_true", help="remove the demo workspace first, with all that is in it"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["reset"]:
            self._remove()
        elif Workspace.objects.filter(slug=SLUG).exists():
            raise CommandError(f"The workspace “{SLUG}” is there already; `manage.py demo --reset` makes it anew.")
        password = secrets.token_urlsafe(12)
        try:
            with transaction.atomic():
                made = make_demo(password)
                self._set_password(password)
        except Refusal as refusal:
            raise CommandError(refusal.message) from refusal
        lines = f"sign-in: {OWNER} {password}\nAPI key: {made.key}\n"
        write_private(settings.ONWARD_DATA / CREDENTIALS, lines)
        counts = ", ".join(f"{count} {name}" for name, count in made.counts.items())
        self.stdout.write(f"Northwind Cloud: {counts}.\n{lines}", ending="")

    def _remove(self) -> None:
        try:
            remove_workspace(SLUG)
        except Refusal as refusal:
            raise CommandError(refusal.message) from refusal

    def _set_password(self, password: str) -> None:
        """Also when the person was there before: the credentials that are printed are those that work."""
        owner = User.objects.get(email=OWNER)
        owner.set_password(password)
        owner.save(update_fields=["password"])
