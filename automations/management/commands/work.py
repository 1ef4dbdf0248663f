"""`manage.py work`: the worker (CONTRACTS 2)."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.errors import Refusal
from automations.commandline.setting import WRONG_USE
from automations.worker import run


class Command(BaseCommand):
    """Advance runs and deliver, for ever or until nothing is due. Exit codes: 0 done, 1 workers given up, 2 wrong use."""

    help = "Route events, advance runs and deliver: for ever, once, or until nothing is due."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--processes", type=int, default=1, help="worker processes (default 1)")
        when = parser.add_mutually_exclusive_group()
        when.add_argument("--until-idle", action="store_true", help="stop when nothing is due any more")
        when.add_argument("--once", action="store_true", help="make one pass of --job")
        parser.add_argument("--job", choices=["automation", "mail", "sweep"], default="automation")
        clock = parser.add_mutually_exclusive_group()
        clock.add_argument("--now", metavar="T", help="set evaluation time to T (ISO, +3d, or real) in one jump first")
        clock.add_argument("--through", metavar="T", help="go to T from due time to due time, draining at each")
        parser.add_argument("--workspace", help="accepted for uniformity; a worker serves all workspaces")

    def handle(self, *args: Any, **options: Any) -> None:
        """Ends the process with 2 and one sentence when the clock cannot be moved as asked."""
        if options["processes"] < 1:
            raise CommandError("--processes is 1 or more.", returncode=WRONG_USE)
        try:
            done = run.work(
                processes=options["processes"],
                until_idle=options["until_idle"],
                once=options["job"] if options["once"] else None,
                now=options["now"],
                through=options["through"],
            )
        except run.WorkersFailed as error:
            raise CommandError(str(error)) from error
        except Refusal as refusal:  # of the clock: no permission, no time, or backwards
            raise CommandError(refusal.message, returncode=WRONG_USE) from refusal
        if done is not None:
            self.stdout.write(f"{done} done")
