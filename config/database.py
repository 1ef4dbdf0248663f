"""`DATABASE_URL` and the connection settings made of it. The session limits differ by what the process does."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

# Milliseconds. A worker or a request that stands longer than this is a fault: better an error than a stalled queue
# (RELIABILITY 5). Commands such as migrate may take as long as they need.
SESSION_LIMITS = {
    "web": {"statement_timeout": 15_000, "lock_timeout": 5_000, "idle_in_transaction_session_timeout": 30_000},
    "worker": {"statement_timeout": 15_000, "lock_timeout": 5_000, "idle_in_transaction_session_timeout": 30_000},
    "command": {},
}
# A host that is cut off says nothing: each side asks whether the other still lives, and ends a connection that has been silent for
# about half a minute. By the defaults of most systems it would take two hours, in which a worker waits for a dead server, and the
# server keeps the locks of a dead worker (RELIABILITY 6). On a socket of the same machine none of this has a meaning, or does harm.
SILENCE = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}  # seconds, seconds, how often
UNHEARD = 30_000  # milliseconds that something sent may stay without an acknowledgement
CLIENT_ALIVE = {"connect_timeout": 10, "keepalives": 1, **SILENCE, "tcp_user_timeout": UNHEARD}
SERVER_ALIVE = {**{f"tcp_{name}": value for name, value in SILENCE.items()}, "tcp_user_timeout": UNHEARD}
# The statements of `accounts.prepared` are prepared when they are made for the sixth time, as is psycopg's own rule; Django's cursors
# prepare nothing. A pooler in transaction mode must know of prepared statements; for one that does not an operator says `none`.
PREPARE_AFTER = 5
WORKER_COMMANDS = {"work", "qcluster"}
WEB_COMMANDS = {"runserver"}


@dataclass(frozen=True)
class Database:
    """Where the database is. `host` may be a socket folder."""

    name: str
    user: str = ""
    password: str = ""
    host: str = ""
    port: str = ""
    options: dict[str, str] = field(default_factory=dict)

    def as_url(self) -> str:
        """The URL that reads as this, for child processes."""
        login = quote(self.user, safe="") + (f":{quote(self.password, safe='')}" if self.password else "")
        place = quote(self.host, safe="") + (f":{self.port}" if self.port else "")
        options = "&".join(f"{key}={quote(value, safe='')}" for key, value in self.options.items())
        return f"postgres://{login}@{place}/{quote(self.name, safe='')}" + (f"?{options}" if options else "")


def parse_database_url(text: str) -> Database:
    """`postgres://user:password@host:5432/name?sslmode=require`; a socket folder as host is percent-encoded, or `?host=`.

    Raises ValueError that says what is wrong, never showing the password.
    """
    parts = urlsplit(text.strip())
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ValueError("must begin with postgres://")
    name = unquote(parts.path.lstrip("/"))
    if not name or "/" in name:
        raise ValueError("must end with the name of one database, as in postgres://user@host/onward")
    options = dict(parse_qsl(parts.query))
    _prepare_after(options)
    try:
        port = str(parts.port or "")
    except ValueError as error:
        raise ValueError("the port must be a number up to 65535") from error
    host = options.pop("host", "") or unquote(_host(parts.netloc))
    return Database(name, unquote(parts.username or ""), unquote(parts.password or ""), host, port, options)


def _prepare_after(options: dict[str, str]) -> int | None:
    said = options.get("prepare_threshold", str(PREPARE_AFTER))
    if said != "none" and not (said.isascii() and said.isdigit()):
        raise ValueError("prepare_threshold must be a number, or none where a pooler knows no prepared statements")
    return None if said == "none" else int(said)


def _host(netloc: str) -> str:
    """The host as written: `urlsplit().hostname` would put a socket folder into lower case."""
    place = netloc.rpartition("@")[2]
    if place.startswith("["):
        return place[1:].partition("]")[0]
    return place.partition(":")[0]


def process_kind(argv: list[str]) -> str:
    """`web`, `worker` or `command`, told by the command line."""
    program = Path(argv[0]) if argv else Path()
    if "gunicorn" in program.parts[-2:]:  # the script, or `-m gunicorn`
        return "web"
    command = argv[1] if len(argv) > 1 and program.name == "manage.py" else ""
    if command in WORKER_COMMANDS:
        return "worker"
    return "web" if command in WEB_COMMANDS else "command"


def _as_options(parameters: dict[str, int]) -> str:
    return " ".join(f"-c {name}={value}" for name, value in parameters.items())


def connection_settings(database: Database, kind: str) -> dict[str, Any]:
    """Django's `DATABASES["default"]`. No pool: every process that forks would share its sockets (STACK 3)."""
    options: dict[str, Any] = {"application_name": f"onward-{kind}", **CLIENT_ALIVE, **database.options}
    options["prepare_threshold"] = _prepare_after(database.options)
    said = (_as_options(SERVER_ALIVE), database.options.get("options", ""), _as_options(SESSION_LIMITS[kind]))
    options["options"] = " ".join(part for part in said if part)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": database.name,
        "USER": database.user,
        "PASSWORD": database.password,
        "HOST": database.host,
        "PORT": database.port,
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options,
    }
