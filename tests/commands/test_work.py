"""`manage.py work`: a clock that cannot be moved as asked is one sentence and exit code 2, and nothing is done (CONTRACTS 2)."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.clock import evaluation_now, real_now
from accounts.models import Workspace
from automations.models import Run
from tests.automations import WAITING, published, started
from tests.factories import make_customer
from tests.worker.living import happen

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]


def refused(*arguments: str) -> str:
    """The sentence of a wrong use; its exit code is 2."""
    with pytest.raises(CommandError) as caught:
        call_command("work", *arguments, stdout=io.StringIO())
    assert caught.value.returncode == 2
    return str(caught.value)


def clock_is_real() -> bool:
    return abs((evaluation_now() - real_now()).total_seconds()) < 5


@pytest.mark.parametrize("way", ["--now", "--through"])
@pytest.mark.parametrize("text", ["+3x", "+999999w", "soon", "2026-13-01"])
def test_what_is_no_time_is_one_sentence(way: str, text: str) -> None:  # CONTRACTS 2: exit codes
    message = refused(way, text)
    assert message.startswith(f"“{text}” is no time: write 2026-11-20T09:00:00Z")
    assert "\n" not in message
    assert clock_is_real()


@pytest.mark.parametrize("way", ["--now", "--through"])
def test_a_real_clock_is_left_alone_and_nothing_is_done(
    way: str, workspace: Workspace, settings: Any
) -> None:  # CONTRACTS 2: "Without `ONWARD_ALLOW_CLOCK` both are refused"
    published(workspace, WAITING)
    happen(make_customer(workspace))
    settings.ONWARD_ALLOW_CLOCK = False
    assert refused(way, "+3d") == (
        "The clock of this installation is real; set ONWARD_ALLOW_CLOCK=1 to move it. Beside `make up` it may be moved:"
        " a second terminal needs the same ONWARD_DATA."
    )
    assert not Run.objects.exists()


def test_the_clock_does_not_go_back_under_a_run(workspace: Workspace) -> None:  # CONTRACTS 2, "The clock"
    call_command("work", "--now", "+3d")
    started(published(workspace, WAITING))
    assert "while a run is unfinished" in refused("--now", "real")
    assert not clock_is_real()


@pytest.mark.parametrize("count", ["0", "-1"])
def test_no_workers_are_no_use(count: str) -> None:
    assert refused("--processes", count, "--until-idle") == "--processes is 1 or more."
