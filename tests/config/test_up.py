"""`manage.py up`: everything comes up under one parent on a machine that had nothing, and goes down with it (CONTRACTS 2)."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from config.environment import CHECKOUT
from config.folder import is_locked, make_folder, write_private
from config.postgres import Cluster
from tests.config.conftest import manage, plain_environment

SECONDS = 150  # the longest a busy machine may take for anything here
CREDENTIALS = "sign-in: mara@northwind.example\npassword: on-ward\nAPI key: ow_test_key\n"
# A proxy of the environment, as build machines have one, knows nothing of our loopback.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Running:
    """One `up` on a folder of its own; `lines` is what it printed so far."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port, self.lines = folder, port, list[str]()
        self.variables = {
            "ONWARD_DATA": str(folder),
            "PORT": str(port),
            "ONWARD_WEB_WORKERS": "1",
            "ONWARD_WORKERS": "1",
            "http_proxy": "http://127.0.0.1:9",  # a machine behind a proxy, which has no way to our loopback
        }
        self.process = subprocess.Popen(
            [sys.executable, str(CHECKOUT / "manage.py"), "up"],
            env=plain_environment(**self.variables, PYTHONUNBUFFERED="1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not any(text in line for line in self.lines):
            assert self.process.poll() is None, self.lines
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.05)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with DIRECT.open(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: int = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(timeout=SECONDS)
        self._reader.join(timeout=10)
        return code


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """Up, with credentials of a demo workspace that was made before: making it is tested elsewhere."""
    folder = Path("/tmp") / f"onward-up-{os.getpid()}"
    make_folder(folder)
    write_private(folder / "demo-credentials", CREDENTIALS)
    found = Running(folder, free_port())
    try:
        found.wait_for("stop: Ctrl-C")
        yield found
    finally:
        found.end()
        Cluster(folder).stop()
        shutil.rmtree(folder, ignore_errors=True)


class TestUp:
    def test_it_says_where_everything_is(self, running: Running) -> None:
        text = "\n".join(running.lines)
        assert f"Onward is up: http://127.0.0.1:{running.port}" in text
        assert CREDENTIALS in text
        assert "manage.py mailbox list" in text or "manage.py mailbox" in text

    def test_it_becomes_ready(self, running: Running) -> None:
        assert running.get("/healthz") == (200, '{"status": "ok"}')
        deadline = time.monotonic() + SECONDS
        while (found := running.get("/readyz"))[0] != 200:
            assert time.monotonic() < deadline, (found, running.lines)
            time.sleep(0.2)

    @pytest.mark.parametrize("path", ["/admin/login/", "/api/schema/", "/api/docs/", "/static/admin/css/base.css"])
    def test_pages_and_their_files_are_served(self, running: Running, path: str) -> None:
        assert running.get(path)[0] == 200

    def test_the_parts_run_as_children(self, running: Running) -> None:
        commands = [" ".join(process.cmdline()) for process in running.family()]
        for part in ("gunicorn", "manage.py work", "manage.py qcluster", "manage.py mailbox"):
            assert any(part in command for command in commands), part

    def test_a_second_one_on_the_same_folder_is_refused(self, running: Running) -> None:
        done = manage("up", **{**running.variables, "PORT": str(free_port())})
        assert done.returncode == 1
        assert f"Onward runs already on {running.folder} (process {running.process.pid}" in done.stderr

    def test_a_taken_port_is_named_with_a_way_out(self, running: Running) -> None:
        elsewhere = f"{running.folder}-second"
        done = manage("up", ONWARD_DATA=elsewhere, PORT=str(running.port))
        shutil.rmtree(elsewhere, ignore_errors=True)
        assert done.returncode == 1
        assert f"Port {running.port} on 127.0.0.1 cannot be used" in done.stderr
        assert f"PORT={running.port + 1} make up" in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_command_typed_beside_it_uses_its_database_and_its_mailbox(self, running: Running) -> None:
        show = (
            "from django.conf import settings; from django_q.models import Schedule;"
            "print(settings.ONWARD_ALLOW_CLOCK, settings.ONWARD_SMTP_URL, Schedule.objects.count())"
        )
        done = manage("shell", "--no-imports", "-c", show, ONWARD_DATA=str(running.folder))
        allowed, mail, schedules = done.stdout.split()
        assert (allowed, schedules) == ("True", "4")
        assert mail.startswith("smtp://127.0.0.1:")

    def test_a_dead_worker_is_replaced(self, running: Running) -> None:
        def worker() -> psutil.Process:
            return next(process for process in running.family() if "mailbox" in process.cmdline())

        first = worker()
        first.kill()
        running.wait_for("mailbox ended (signal SIGKILL)")
        deadline = time.monotonic() + SECONDS
        while not any("mailbox" in process.cmdline() and process.pid != first.pid for process in running.family()):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def test_ctrl_c_ends_everything_and_stops_the_server(self, running: Running) -> None:
        """Last: what follows needs it up again."""
        family = running.family()
        server = int((Cluster(running.folder).data / "postmaster.pid").read_text().split()[0])
        assert running.end(signal.SIGINT) == 0
        assert running.lines[-2:] == ["Stopping.", "Stopped."]
        _, alive = psutil.wait_procs(family, timeout=5)
        assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
        assert not psutil.pid_exists(server) or psutil.Process(server).status() == psutil.STATUS_ZOMBIE
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", running.port), timeout=1)

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
    def test_a_second_start_goes_on_and_kill_9_of_the_parent_leaves_nothing_behind(self, running: Running) -> None:
        second = Running(running.folder, free_port())
        second.wait_for("stop: Ctrl-C")
        family = second.family()
        second.process.kill()
        second.process.wait()
        _, alive = psutil.wait_procs(family, timeout=SECONDS)
        assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
        assert not is_locked(running.folder / "up.lock")
        hold = Cluster(running.folder).attach()
        database = hold.cluster.database()
        with psycopg.connect(host=database.host, user=database.user, dbname=database.name) as connection:
            assert connection.execute("SELECT count(*) FROM django_q_schedule").fetchone() == (4,)
        hold.release()
        assert not hold.cluster.ready()
