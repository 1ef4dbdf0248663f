"""`manage.py up`: everything of one installation under one parent (CONTRACTS 2)."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import StringIO
from pathlib import Path

from django.conf import settings
from django.core.management import CommandError, call_command, get_commands
from django.db import connections

from accounts.provenance import why_held
from config.environment import CHECKOUT, process_environment
from config.folder import make_folder, write_private
from config.start import UP_DEFAULTS, embedded_cluster, keys_needed
from config.supervise import Child, Parent

MAILBOX_PORT = 1025
CREDENTIALS = "demo-credentials"
Tell = Callable[[str], None]


class CannotStart(Exception):
    """Something is in the way; the text says what and how to mend it."""


def run(tell: Tell) -> None:
    """Start all, print where it is, and stay until Ctrl-C; then everything is stopped, PostgreSQL too.

    Raises CannotStart, ClusterError or FolderError before anything was started.
    """
    with ExitStack() as stack:
        stack.enter_context(_only_parent(settings.ONWARD_DATA))
        _port_is_free(settings.ONWARD_BIND, settings.ONWARD_PORT)
        _start_database(stack, tell)
        _prepare_data(tell)
        mail_port = _choose_mail_server()
        _share_environment(settings.ONWARD_DATA)
        connections.close_all()
        parent = Parent(_children(mail_port), tell)
        parent.run(_announce_once(tell, mail_port))
    tell("Stopped.")


@contextmanager
def _only_parent(folder: Path) -> Iterator[None]:
    """One parent per data folder; the lock falls with the process, however it ends."""
    make_folder(folder)
    with (folder / "up.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise CannotStart(
                f"Onward runs already on {folder} ({file.read().strip() or 'another process'})."
                " Stop it with Ctrl-C there, or set ONWARD_DATA and PORT for a second one."
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()}, {_address()}\n")
        file.flush()
        try:
            yield
        finally:
            (folder / "up.json").unlink(missing_ok=True)


def _port_is_free(bind: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
        except OSError as error:
            raise CannotStart(
                f"Port {port} on {bind} cannot be used ({error.strerror}). Stop what listens there, or choose another:"
                f" PORT={port + 1} make up"
            ) from error


def _start_database(stack: ExitStack, tell: Tell) -> None:
    cluster = embedded_cluster(process_environment(keys_needed=keys_needed()))
    if cluster is None:
        return
    tell(f"PostgreSQL: starting in {cluster.folder}")
    hold = cluster.attach()
    stack.callback(hold.release)


def _prepare_data(tell: Tell) -> None:
    """Migrate; the demo workspace once, as long as its credentials are not in the data folder."""
    tell("Migrations: applying what is new")
    call_command("migrate", interactive=False, verbosity=0)
    if "demo" in get_commands() and not (settings.ONWARD_DATA / CREDENTIALS).exists():
        tell("Demo workspace: making it, once")
        try:
            call_command("demo", stdout=StringIO())  # the banner shows the credentials, once
        except CommandError as error:  # its workspace is there, its credentials are not: no reason to stay down
            tell(f"Demo workspace: {error}")
    why = why_held()
    if why:
        tell(f"Workers are held. {why} See `{_manage()} restored`.")


def _choose_mail_server() -> int | None:
    """The port of our mailbox, set as the mail server of all children; None when the operator named a server."""
    if settings.ONWARD_SMTP_URL:
        return None
    for wanted in (MAILBOX_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            port = int(probe.getsockname()[1])
            os.environ["ONWARD_SMTP_URL"] = f"smtp://127.0.0.1:{port}"
            return port
    raise CannotStart("No port on 127.0.0.1 is free for the mailbox. Set ONWARD_SMTP_URL to a mail server.")


def _share_environment(folder: Path) -> None:
    """Leave what commands typed beside this parent are to take over (`config.start.join_running`)."""
    shared = {name: os.environ[name] for name in (*UP_DEFAULTS, "ONWARD_SMTP_URL", "PORT") if name in os.environ}
    write_private(folder / "up.json", json.dumps(shared))


def _children(mail_port: int | None) -> list[Child]:
    manage = [sys.executable, str(CHECKOUT / "manage.py")]
    web = [
        *(sys.executable, "-m", "gunicorn", "config.wsgi:application", "--chdir", str(CHECKOUT)),
        *("--bind", _place(), "--worker-class", "config.web.Worker", "--threads", "4"),
        *("--workers", str(settings.ONWARD_WEB_WORKERS), "--timeout", "60", "--graceful-timeout", "15"),
        *("--log-level", "warning", "--no-control-socket"),
    ]
    commands = {
        "web": web,
        "worker": [*manage, "work", "--processes", str(settings.ONWARD_WORKERS)],
        "qcluster": [*manage, "qcluster"],
    }
    if mail_port is not None:
        commands["mailbox"] = [*manage, "mailbox", "serve", "--port", str(mail_port)]
    return [Child(name, command, {**os.environ}) for name, command in commands.items()]


def _announce_once(tell: Tell, mail_port: int | None) -> Callable[[], bool]:
    """A check that answers True once the web server does, and prints then where everything is."""

    # A proxy of the environment knows nothing of our own address.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ready() -> bool:
        try:
            with direct.open(f"{_address()}/healthz", timeout=2):
                pass
        except (urllib.error.URLError, OSError):
            return False
        tell(_banner(mail_port))
        return True

    return ready


def _banner(mail_port: int | None) -> str:
    mail = settings.ONWARD_SMTP_URL or (
        f"caught on 127.0.0.1:{mail_port}, read it with `{_manage()} mailbox list` and `{_manage()} mailbox show 1`"
    )
    lines = ["", f"Onward is up: {_address()}"]
    try:
        lines += (settings.ONWARD_DATA / CREDENTIALS).read_text(encoding="utf-8").strip().splitlines()
    except FileNotFoundError:
        lines += [f"sign-in: make one with `{_manage()} createsuperuser`"]
    return "\n".join([*lines, f"mail: {mail}", f"data: {settings.ONWARD_DATA}", "stop: Ctrl-C", ""])


def _manage() -> str:
    """How to type a command beside this one, from the checkout."""
    python = Path(sys.executable)
    return f"{python.relative_to(CHECKOUT) if CHECKOUT in python.parents else python} manage.py"


def _place() -> str:
    bind = settings.ONWARD_BIND
    return f"[{bind}]:{settings.ONWARD_PORT}" if ":" in bind else f"{bind}:{settings.ONWARD_PORT}"


def _address() -> str:
    """How this machine reaches the web server: an address that means every interface is no address to go to."""
    bind = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.ONWARD_BIND, settings.ONWARD_BIND)
    return f"http://{bind}:{settings.ONWARD_PORT}"
