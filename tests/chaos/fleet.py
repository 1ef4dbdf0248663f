"""Real processes of the product on one database: workers, the queue's cluster, the web server; killed, frozen and started again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests.worker.smtp_peer import _free_port

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "tests" / "chaos" / "site"
FROZEN_SECONDS = 3.0  # longer than the lease: others take over what a frozen worker holds
KEYS = {  # the same in every process of a storm
    "ONWARD_SECRET_KEY": "chaos-0123456789" * 4,
    "ONWARD_QUEUE_KEY": "bells-0123456789" * 4,
    "ONWARD_ENCRYPTION_KEYS": "dGVzdGluZy1vbmx5LXRlc3Rpbmctb25seS10ZXN0aW4=",
}
MANAGE = [sys.executable, str(ROOT / "manage.py")]


def environment(url: str, **more: str) -> dict[str, str]:
    """What a process of a storm gets. `CHAOS_CLOCK`: seconds by which its host's clock is wrong; `CHAOS_CLOCK_FILE`: where they stand,
    to be changed while it works."""
    return {
        **os.environ,
        **KEYS,
        "DATABASE_URL": url,
        "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
        "PYTHONPATH": f"{SITE}{os.pathsep}{ROOT}",
        "ONWARD_EGRESS_ALLOW": "127.0.0.0/8",
        "ONWARD_ALLOW_CLOCK": "1",
        "ONWARD_PASS_MINUTES": "1",
        "ONWARD_LOG": "error",
        "ONWARD_DEBUG": "1",
        **more,
    }


class Host:
    """One group of processes under one parent; started again whenever the whole of it was killed. `tree` is where its code lies."""

    def __init__(self, kind: str, command: Sequence[str], variables: Mapping[str, str], tree: Path = ROOT) -> None:
        self.kind, self._tree = kind, tree
        self._command, self._environment = list(command), dict(variables)
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the host, in `destroy`
        self._changing = threading.Lock()
        self.parent = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command,
            cwd=self._tree,
            env=self._environment,
            start_new_session=True,
            stderr=self._said,
            stdout=self._said,
        )

    def said(self) -> str:
        """The last of what its processes wrote."""
        self._said.seek(max(0, self._said.seek(0, os.SEEK_END) - 3000))
        return self._said.read().decode(errors="replace")

    def children(self) -> list[psutil.Process]:
        """Those that live now."""
        with suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.parent.pid).children(recursive=True)
            return [child for child in found if child.status() != psutil.STATUS_ZOMBIE]
        return []

    def wait_for_children(self) -> list[psutil.Process]:
        """At least one, within a minute."""
        end = time.monotonic() + 60
        while not (found := self.children()):
            assert time.monotonic() < end, f"no process of {self.kind} came up: {self.said()}"
            time.sleep(0.02)
        return found

    def kill(self) -> None:
        """SIGKILL, the parent and all its children at once; then start it again."""
        with self._changing:
            self._kill()
            self.parent = self._start()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.parent.pid, signal.SIGKILL)
        self.parent.wait()

    def tend(self) -> bool:
        """Start it again when it ended by itself, as the parent of `make up` does; whether it had."""
        with self._changing:
            if self.parent.poll() is None:
                return False
            self._kill()
            self.parent = self._start()
        return True

    def end(self) -> int:
        """Ask for an orderly end; answers the exit code."""
        self.parent.terminate()
        return self.parent.wait(40)

    def destroy(self) -> None:
        """Leave nothing behind, whatever happened before."""
        self._kill()
        self._said.close()


def workers(url: str, processes: int = 2, tree: Path = ROOT, **more: str) -> Host:
    """`manage.py work`, as `make up` starts it."""
    command = [sys.executable, str(tree / "manage.py"), "work", "--processes", str(processes)]
    return Host("work", command, environment(url, **more), tree)


def queue(url: str, **more: str) -> Host:
    """`manage.py qcluster`, whose schedules run passes of the same work every minute."""
    return Host("queue", [*MANAGE, "qcluster"], environment(url, **more))


class Web(Host):
    """gunicorn, as `make up` starts it, on a port of its own."""

    def __init__(self, url: str, tree: Path = ROOT, **more: str) -> None:
        self.port = _free_port()
        kind = "config.web.Worker" if (tree / "config/web.py").exists() else "gthread"  # of an older release
        command = [
            *(sys.executable, "-m", "gunicorn", "config.wsgi:application", "--chdir", str(tree)),
            *("--bind", f"127.0.0.1:{self.port}", "--worker-class", kind, "--threads", "4", "--workers", "2"),
            *("--timeout", "60", "--graceful-timeout", "15", "--log-level", "error", "--no-control-socket"),
        ]
        super().__init__("web", command, environment(url, **more), tree)


class Fleet:
    """All hosts of one storm, and what was done to them."""

    def __init__(self, hosts: Sequence[Host], chance: random.Random) -> None:
        self.hosts, self._chance = list(hosts), chance
        self._thaws: list[threading.Timer] = []
        self.counts: Counter[str] = Counter()
        self._over = threading.Event()
        self._tending = threading.Thread(target=self._tend, daemon=True)
        self._tending.start()

    def _tend(self) -> None:
        while not self._over.wait(0.5):
            self.counts["ended by themselves"] += sum(host.tend() for host in self.hosts)

    def of(self, kind: str) -> list[Host]:
        """Hosts of a kind."""
        return [host for host in self.hosts if host.kind == kind]

    def kill_child(self, kind: str) -> None:
        """SIGKILL one process, which its parent replaces."""
        host = self._chance.choice(self.of(kind))
        self._signal(self._chance.choice(host.wait_for_children()), signal.SIGKILL)
        self.counts[f"killed {kind}"] += 1

    def kill_host(self, kind: str) -> None:
        """SIGKILL a parent with all it started; then it is started again."""
        host = self._chance.choice(self.of(kind))
        host.wait_for_children()
        host.kill()
        self.counts[f"killed {kind} whole"] += 1

    def kill_all(self) -> None:
        """Every process of the product, one host after the other at once; each is started again."""
        for host in self.hosts:
            host.kill()
        self.counts["killed everything"] += 1

    def freeze(self) -> None:
        """SIGSTOP a worker for longer than its leases, then let it go on as if nothing had been."""
        victim = self._chance.choice(self._chance.choice(self.of("work")).wait_for_children())
        self._signal(victim, signal.SIGSTOP)
        thaw = threading.Timer(FROZEN_SECONDS, self._signal, [victim, signal.SIGCONT])
        thaw.start()
        self._thaws.append(thaw)
        self.counts["frozen"] += 1

    @staticmethod
    def _signal(process: psutil.Process, number: int) -> None:
        with suppress(psutil.NoSuchProcess):  # killed while it was frozen
            process.send_signal(number)

    def end(self) -> dict[str, int]:
        """Ask all for an orderly end; answers the exit codes by kind, 0 where all of a kind ended well."""
        for thaw in self._thaws:
            thaw.join()
        self._over.set()
        self._tending.join()
        codes: dict[str, int] = {}
        for host in self.hosts:
            codes[host.kind] = host.end() or codes.get(host.kind, 0)
        return codes

    def said(self) -> str:
        """The last words of each host that has some."""
        return "\n".join(f"--- {host.kind}: {words}" for host in self.hosts if (words := host.said().strip()))

    def destroy(self) -> None:
        """Leave nothing behind, whatever happened before."""
        self._over.set()
        self._tending.join()
        for host in self.hosts:
            host.destroy()
