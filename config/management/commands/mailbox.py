"""`manage.py mailbox`: the catch-all mail server of `make up`, and a way to read what it caught (CONTRACTS 2)."""

from __future__ import annotations

from email.message import EmailMessage
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.mailbox import Mail, Mailbox, serve
from config.up import MAILBOX_PORT


class Command(BaseCommand):
    """`mailbox` serves; `mailbox list` and `mailbox show N` read."""

    help = "Catch all mail on loopback (serve), list what was caught, or show one."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """What to do, which mail, where to listen."""
        parser.add_argument("what", nargs="?", choices=["serve", "list", "show"], default="serve")
        parser.add_argument("number", nargs="?", type=int, help="of the mail to show")
        parser.add_argument("--port", type=int, default=MAILBOX_PORT, help=f"to listen on ({MAILBOX_PORT})")

    def handle(self, *args: Any, **options: Any) -> None:
        """Exit 1 when the port is taken or there is no such mail."""
        mailbox = Mailbox(settings.ONWARD_DATA)
        if options["what"] == "list":
            self._list(mailbox)
        elif options["what"] == "show":
            self._show(mailbox, options["number"])
        else:
            try:
                serve(mailbox, options["port"])
            except OSError as error:
                raise CommandError(f"Port {options['port']} on 127.0.0.1 cannot be used ({error.strerror}).") from error

    def _list(self, mailbox: Mailbox) -> None:
        mails = mailbox.mails()
        for mail in mails:
            message = mail.message()
            self.stdout.write(f"{mail.number:>4}  {message['Date'] or '':31}  {message['To']}  {message['Subject']}")
        if not mails:
            self.stdout.write(f"No mail yet in {settings.ONWARD_DATA}.")

    def _show(self, mailbox: Mailbox, number: int | None) -> None:
        if number is None:
            raise CommandError("Which one? `manage.py mailbox show 1`; `manage.py mailbox list` names them all.")
        mail = next((mail for mail in mailbox.mails() if mail.number == number), None)
        if mail is None:
            raise CommandError(f"There is no mail {number}. `manage.py mailbox list` names them all.")
        self.stdout.write(_as_text(mail))


def _as_text(mail: Mail) -> str:
    """Headers and the text part; the HTML part where there is no other."""
    message = mail.message()
    headers = "\n".join(f"{name}: {value}" for name, value in message.items())
    part = message.get_body(preferencelist=("plain", "html"))
    return f"{headers}\n\n{part.get_content() if isinstance(part, EmailMessage) else ''}"
