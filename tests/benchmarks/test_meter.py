"""What a measurement counts: the work of the processes at hand and of their children, and nothing that was done before."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from django.db import connection

from benchmarks.meter import Meter, family

BUSY = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass"
pytestmark = pytest.mark.skipif(
    not os.path.exists("/proc/self/schedstat"), reason="this system does not tell what a process cost"
)


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_own_work_and_that_of_a_child_that_ended_are_counted() -> None:
    before = family(os.getpid())
    burn(0.05)
    subprocess.run([sys.executable, "-c", BUSY.format(0.1)], check=True)
    assert family(os.getpid()) - before >= 0.14


def test_of_a_child_that_lives_on_only_what_it_does_meanwhile_counts() -> None:
    script = f"{BUSY.format(0.3)}\nprint('ready', flush=True)\ninput()\n{BUSY.format(0.1)}\nprint('done', flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stdin
        assert child.stdout.readline() == b"ready\n"
        before = family(os.getpid())
        child.stdin.write(b"\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"done\n"
        spent = family(os.getpid()) - before
        child.stdin.write(b"\n")
    assert 0.1 <= spent < 0.3


@pytest.mark.django_db(transaction=True)
def test_a_database_that_writes_costs_processor_time_and_log() -> None:
    parameters = connection.get_connection_params()
    names = ("dbname", "user", "password", "host", "port")
    dsn = " ".join(f"{name}='{parameters[name]}'" for name in names if parameters.get(name))
    with connection.cursor() as cursor, Meter(dsn) as meter:
        cursor.execute("CREATE TABLE burnt AS SELECT g, md5(g::text) FROM generate_series(1, 200000) g")
        cursor.execute("DROP TABLE burnt")
    assert meter.spent["seconds"] > 0
    assert meter.spent["postgres"] > 0.02
    assert meter.spent["wal"] > 200_000 * 40
