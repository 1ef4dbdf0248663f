"""A PostgreSQL of a storm's own, which may be restarted, stopped dead and filled up without harm to anybody else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from config.database import Database
from config.folder import default_test_folder
from config.postgres import ROLE, TEST_SETTINGS, Cluster

ROOT = Path(__file__).resolve().parents[2]


def own_folder(name: str) -> Path:
    """Beside the tests' own data, and of this process alone."""
    near = Path(os.environ.get("ONWARD_TEST_DATA") or default_test_folder())
    return near.with_name(f"{near.name}-chaos-{name}-{os.getpid()}")


class Server:
    """One embedded cluster. `as_users_run_it` leaves its settings alone; else it does not wait for the disk, as in other tests:
    what is tried here is the death of processes, never of the machine."""

    def __init__(self, folder: Path, as_users_run_it: bool = False, settings: tuple[tuple[str, str], ...] = ()) -> None:
        self.cluster = Cluster(folder, (() if as_users_run_it else TEST_SETTINGS) + settings)
        self.socket = str(self.cluster.sockets / ".s.PGSQL.5432")
        self.url = self.cluster.database().as_url()

    def start(self) -> None:
        """Make the cluster, or bring it up again."""
        self.cluster.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.cluster.attach()

    def migrate(self, tree: Path = ROOT) -> None:
        """Make the tables as the code in `tree` has them, in a process of its own."""
        environment = os.environ | {"DATABASE_URL": self.url, "ONWARD_DEBUG": "1", "PYTHONPATH": str(tree)}
        command = [sys.executable, str(tree / "manage.py"), "migrate", "--verbosity", "0"]
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]

    def stop(self, mode: str = "fast") -> None:
        """`fast` ends every session, `immediate` kills the server without a checkpoint: it recovers at its next start."""
        self.cluster._run("pg_ctl", "-D", str(self.cluster.data), "-m", mode, "-w", "-t", "60", "stop")

    def restart(self, mode: str) -> float:
        """Down and up again; answers the seconds until it takes connections."""
        began = time.monotonic()
        self.stop(mode)
        self.cluster._start()
        return time.monotonic() - began

    def ask(self, statement: str) -> list[tuple[object, ...]]:
        """One statement on a connection of its own, past every fault."""
        with psycopg.connect(host=str(self.cluster.sockets), user=ROLE, dbname="onward", autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]  # a plain text, written in the tests
            return cursor.fetchall() if cursor.description else []

    def through(self, port: int) -> str:
        """Its URL behind a `Link`, which speaks no TLS."""
        return Database("onward", ROLE, "", "127.0.0.1", str(port), {"sslmode": "disable"}).as_url()


@contextmanager
def own_server(
    name: str, as_users_run_it: bool = False, settings: tuple[tuple[str, str], ...] = (), tree: Path = ROOT
) -> Iterator[Server]:
    """A server that is gone afterwards, with the tables of the code in `tree`."""
    server = Server(own_folder(name), as_users_run_it, settings)
    try:
        server.start()
        server.migrate(tree)
        yield server
    finally:
        if (server.cluster.data / "postmaster.pid").exists():
            server.stop("immediate")
        shutil.rmtree(server.cluster.folder, ignore_errors=True)
