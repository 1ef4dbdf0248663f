"""The services under any sequence of acts (see `tests/fuzz/living.py`). The long form is `python -m tests.fuzz.long services`."""

from __future__ import annotations

import re
from typing import Any

import pytest

from automations.models import Automation
from automations.services import intake, pause
from automations.services.events import shard_of
from automations.worker import queue
from tests.fuzz.living import Living
from tests.fuzz.seeded import SEED, number, run_machine

EXAMPLES = number("HISTORIES", 5)
pytestmark = pytest.mark.django_db


def test_any_history_ends_as_the_model_says_and_the_doctor_is_silent() -> None:
    print(f"start value {SEED}")
    run_machine(Living, SEED, EXAMPLES, 15)


class TestPlanted:
    """A service that forgets something is found from one of a few start values."""

    def found(self, match: str) -> None:
        said = ""
        for start in range(6):
            try:
                run_machine(Living, start, 25, 12)
            except AssertionError as error:
                said = str(error)
                break
        assert said, "nobody noticed"
        assert re.search(match, said)

    def test_an_event_that_leaves_the_queue_before_it_is_routed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = intake.record_events

        def losing(events: Any, *known: Any) -> Any:
            recorded = plain(events, *known)
            if events[0].name == "sign":
                event = events[0]
                queue.leave([(shard_of(event.workspace_id, event.subjects["customer"]), recorded[0].id)])
            return recorded

        monkeypatch.setattr(intake, "record_events", losing)
        self.found("runs that should be there|E")

    def test_a_pause_that_forgets_to_cancel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = pause._mark

        def forgetting(automation: Automation, in_flight: str) -> None:
            plain(automation, "finish" if in_flight == "cancel" else in_flight)

        monkeypatch.setattr(pause, "_mark", forgetting)
        self.found("is COMPLETED")

    def test_a_resume_that_forgets_whom_it_held(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = pause._release

        def forgetting(automation: Automation, how: str) -> None:
            plain(automation, how)
            Automation.objects.filter(pk=automation.pk).update(release_mark=None, release_at=None, release_how="")

        monkeypatch.setattr(pause, "_release", forgetting)
        self.found("is RUNNING|is WAITING|'")
