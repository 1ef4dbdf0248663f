"""Races of what is asked for twice: one request under one `Idempotency-Key`, one run taken up by several passes (RELIABILITY 33, 34)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pytest

from accounts.api import idempotency
from accounts.models import Idempotency, Task
from automations.models import Run
from automations.worker import advance, loop, store
from automations.worker import claim as claiming
from automations.worker.loop import one_pass
from tests.chaos.peers import Receiver
from tests.chaos.races.gates import Undone, due, fresh, gate, steps, without_constraint
from tests.chaos.races.race import AT_ONCE, Guard, Race
from tests.factories import ApiClient, make_api_key, unique
from tests.worker.living import live, settle
from tests.worker.racing import Racer, together

COPIES = 50


def _without_answers(patch: pytest.MonkeyPatch) -> AbstractContextManager[None]:
    patch.setattr(idempotency, "_lock", lambda name: True)
    return without_constraint("accounts_idempotency", "idempotency_key_unique")


def _without_locks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(claiming, "_CLAIM", claiming._CLAIM.replace("FOR UPDATE SKIP LOCKED", ""))
    patch.setattr(store, "_UPDATE", store._UPDATE.replace("AND r.seq = u.claimed", ""))
    # What comes second fails by the log's key, again and again until its pass ends.
    patch.setattr(loop, "PASS_SECONDS", 1.0)


class SameRequest(Race):
    """Fifty callers send one request under one key: it is done once, and all are told so or to wait."""

    name, title, rows = "same-request", "one request fifty times under one key", "33, X2"
    orders = ("first_is_at_work", "first_dies", "two_bodies", AT_ONCE)
    guards = (Guard("the key's lock and its unique row", _without_answers, orders[:1]),)
    checks = ("X2",)

    def prepare(self) -> None:
        self.key = make_api_key(self.workspace)[1]

    def begin(self) -> str:
        return unique("request")

    def post(self, key: str, title: str = "") -> tuple[int, str]:
        """Status, and the id or the code of the refusal."""
        client = ApiClient(self.key)
        client.raise_request_exception = False
        answer = client.post("/tasks", {"message": title or key, "title": title or key}, HTTP_IDEMPOTENCY_KEY=key)
        body = answer.json()
        return answer.status_code, str(body.get("id") or body.get("code"))

    def first_is_at_work(self, key: str) -> bool:
        """He has done it and not yet committed when the others come."""
        with gate(idempotency, "_store") as done:
            first = Racer(lambda: self.post(key))
            done.wait()
            others = together(*[lambda: self.post(key)] * (COPIES - 1))
            done.open()
            made = first.result()
        again = [self.post(key) for _ in range(3)]
        self.figures.doubled += again != [made] * 3
        return set(others) == {(409, "idempotency_in_progress")}

    def first_dies(self, key: str) -> bool:
        """The same, and nothing of it stays: whoever asks next does it."""

        def die(*about: Any) -> None:
            raise Undone

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(idempotency, "_store", die)
            with gate(idempotency, "_store") as done:
                first = Racer(lambda: self.post(key))
                done.wait()
                others = together(*[lambda: self.post(key)] * 5)
                done.open()
                status = first.result()[0]
        gone = not Task.objects.filter(workspace=self.workspace, message=key).exists()
        self.post(key)
        return status == 500 and gone and set(others) == {(409, "idempotency_in_progress")}

    def two_bodies(self, key: str) -> bool:
        """Half of them mean something else by it: one of the two is done, and the others are refused."""
        half = COPIES // 2
        answers = together(*[lambda: self.post(key)] * half, *[lambda: self.post(key, f"not {key}")] * half)
        made = {id for status, id in answers if status == 201}
        codes = {code for status, code in answers if status != 201}
        self.figures.doubled += len(made) != 1
        return codes <= {"idempotency_in_progress", "idempotency_conflict"}

    def at_once(self, key: str) -> bool:
        answers = together(*[lambda: self.post(key)] * COPIES)
        self.figures.doubled += len({id for status, id in answers if status == 201}) != 1
        return True

    def judge(self, key: str) -> None:
        made = Task.objects.filter(workspace=self.workspace, message__in=[key, f"not {key}"]).count()
        stored = Idempotency.objects.filter(workspace=self.workspace, key=key).count()
        self.figures.lost += made < 1
        self.figures.doubled += made > 1 or stored > 1


class RepeatedPass(Race):
    """A pass that comes twice, or while another one is at it, takes no step twice: the queue's tasks carry no truth."""

    name, title, rows = "repeated-pass", "one run taken up by several passes", "34, S1, O4"
    orders = ("second_passes_over", "one_after_the_other", AT_ONCE)
    guards = (Guard("the claim's row lock and the check of the visit", _without_locks, orders[:1]),)
    checks = ("S1", "S2", "L1", "O1", "O2", "R1", "R2")
    FLOW = """
steps:
  - {id: tag, type: action, action: add_tag, tag: seen}
  - {id: hook, type: action, action: send_webhook, url: "%s"}
  - {id: task, type: action, action: create_task, message: "Call"}
"""

    def prepare(self) -> None:
        self.receiver = self.stack.enter_context(Receiver(self.chance))
        self.automation = live(self.workspace, self.FLOW % self.receiver.url)

    def begin(self) -> Run:
        return due(self.automation)

    def second_passes_over(self, run: Run) -> bool:
        """A worker has taken up the run and not yet walked it."""
        with gate(advance, "_walk") as taken:
            first = Racer(lambda: one_pass("automation"))
            taken.wait()
            Racer(lambda: one_pass("automation")).result()
            untouched = steps(run) == []
            taken.open()
            first.result()
        return untouched

    def one_after_the_other(self, run: Run) -> bool:
        for _ in range(3):
            Racer(lambda: one_pass("automation")).result()
        for _ in range(3):
            Racer(lambda: one_pass("mail")).result()
        return True

    def at_once(self, run: Run) -> bool:
        self.at_once_with(*[lambda: one_pass("automation")] * 3, *[lambda: one_pass("mail")] * 3)
        return True

    def judge(self, run: Run) -> None:
        settle(deliver=True)
        log, acts = steps(run), self.receiver.record.acts
        self.figures.lost += (fresh(run).status, log) != ("COMPLETED", ["tag", "hook", "task"])
        self.figures.doubled += len(set(log)) != len(log) or any(count > 1 for count in acts.values())
        self.figures.doubled += Task.objects.filter(run_id=run.pk).count() > 1
