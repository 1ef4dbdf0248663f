"""The database's disk is full, and later it is not: who was told that an event was recorded was told the truth, and work goes on
(RELIABILITY 7). PostgreSQL runs on a small disk in memory, which takes the right to mount one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.clients import Caller, Told
from tests.chaos.fleet import MANAGE, ROOT, Web, environment, workers
from tests.chaos.server import Server, own_folder

SIZE = 700  # megabytes; all that a cluster does not use is taken away when the disk is to be full
SECONDS = 240
SETTINGS = (("max_wal_size", "64MB"), ("min_wal_size", "32MB"), ("wal_recycle", "off"))
INSTALL = """
from tests.factories import *
from tests.worker.living import live
workspace = make_workspace()
live(workspace, "steps: [{id: note, type: action, action: create_task, message: Call}]")
print(make_customer(workspace).pk, make_api_key(workspace)[1])
"""


@pytest.fixture
def disk() -> Iterator[Path]:
    folder = own_folder("disk")
    folder.mkdir(mode=0o755)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m,mode=755", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        folder.rmdir()
        pytest.skip("needs the right to mount a tmpfs, as root has it on Linux")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
    shutil.rmtree(folder, ignore_errors=True)


def until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.2)


def install(server: Server) -> tuple[int, str]:
    """A customer's id and a key, made by a process of its own, since this one stands on another database."""
    command = [*MANAGE, "shell", "-c", INSTALL]
    done = subprocess.run(command, cwd=ROOT, env=environment(server.url), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    customer, key = done.stdout.split()[-2:]
    return int(customer), key


def fill(folder: Path) -> Path:
    """Take all the room there is, while others take some as well."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 22, 1 << 16, 1 << 12):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass
    return ballast


def count(server: Server, statement: str) -> int:
    found = server.ask(f"SELECT count(*) FROM {statement}")[0][0]
    assert isinstance(found, int)
    return found


def test_what_was_acknowledged_while_the_disk_ran_full_is_stored_and_done(disk: Path) -> None:
    server = Server(disk, settings=SETTINGS)
    try:
        server.start()
        server.migrate()
        customer, key = install(server)
        web, host = Web(server.url), workers(server.url)
        try:
            told = Told()
            caller = Caller(web.port, key, told)
            tell(caller, customer, range(20), told)
            ballast = fill(disk)
            until(lambda: refused(caller, customer, told), "the disk does not fill up")
            ballast.unlink()
            if not server.cluster.ready():  # it could not write its log, and ended; an operator starts it again
                server.start()
            said = len(told.events)
            until(lambda: tell(caller, customer, range(10_000, 10_020), told), "nobody is heard any more")
            assert len(told.events) == said + 20
            until(lambda: not count(server, "automations_unrouted"), "events are not routed")
            until(lambda: not count(server, "automations_run WHERE ended_at IS NULL"), "runs do not end")
        finally:
            web.destroy()
            host.destroy()
        judge(server, told)
    finally:
        if (server.cluster.data / "postmaster.pid").exists():
            server.stop("immediate")


def tell(caller: Caller, customer: int, numbers: range, told: Told) -> bool:
    """Until all are acknowledged, or the caller gives up."""
    signs = [("sign", number) for number in numbers]
    until(lambda: caller.call("GET", "/events", "") is not None, "no web server")
    return caller.say(signs, dict.fromkeys(numbers, customer))


def refused(caller: Caller, customer: int, told: Told) -> bool:
    """Say larger and larger things once each, until several were refused; whether they were."""
    number = 100 + len(told.events) + sum(told.answers.values())
    body = {
        "id": f"sign-{number}",
        "name": "sign",
        "customer": f"cus_{customer}",
        "payload": {"number": number, "much": "x" * 60_000},
    }
    found = caller.call("POST", "/events", body)
    if found is not None and found[0] == 202:
        told.hear(("sign", number), int(found[1]["id"].removeprefix("evt_")))
    return told.answers["503"] + told.answers["no answer"] >= 5


def judge(server: Server, told: Told) -> None:
    assert not told.wrong, told.wrong  # no answer was a fault
    assert set(told.answers) <= {"200", "202", "503", "no answer"}, told.answers
    rows = server.ask("SELECT id, key FROM automations_event WHERE name = 'sign'")
    stored = {str(row[1]): row[0] for row in rows}
    acknowledged = {f"sign-{number}": id for (_, number), id in told.events.items()}
    assert acknowledged.items() <= stored.items()
    runs = Counter(row[0] for row in server.ask("SELECT event_id FROM automations_run WHERE status = 'COMPLETED'"))
    assert set(runs) == set(stored.values())
    assert set(runs.values()) == {1}
    tasks = Counter(row[0] for row in server.ask("SELECT run_id FROM accounts_task WHERE message = 'Call'"))
    assert len(tasks) == len(runs)
    assert set(tasks.values()) == {1}
    doctor = subprocess.run(
        [sys.executable, "manage.py", "doctor"],
        cwd=ROOT,
        env=environment(server.url),
        capture_output=True,
        text=True,
        check=False,
    )
    assert doctor.returncode == 0, doctor.stdout
