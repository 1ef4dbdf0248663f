"""A delivery as its worker holds it, from the claim to the settlement."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from automations.engine.kinds import Envelope, OutsideAction, Unsure
from automations.engine.outcomes import Failed, Outcome
from automations.engine.registry import registry
from automations.worker.policy import LOST_LIMIT, Rules, Tries

#: act: do it. recover: a worker died over it, so ask first where one can, then do it. read_back: only ask.
Mode = Literal["act", "recover", "read_back"]


@dataclass(slots=True)
class Job:
    """One claimed delivery. `state` and `fence` are what the settlement must still find."""

    id: int
    workspace_id: int
    run_id: int
    visit: int
    key: str
    step: str
    action_key: str
    state: str
    fence: int
    attempts: int
    customer_id: int | None
    envelope: Envelope
    rules: Rules
    request_sha256: str
    first_attempt_at: datetime | None
    unknown_since: datetime | None
    now: datetime  # evaluation clock at the claim
    real: datetime  # the database's clock at the claim
    mode: Mode = "act"
    tries: Tries = field(default_factory=Tries)
    body: bytes | None = None
    outcome: Outcome | None = None  # what it came to; None after reading back: nobody can tell
    lost: bool = False  # it was found with a worker that had let its lease run out while it acted

    @property
    def action(self) -> OutsideAction | None:
        """Its action, None when this installation has no such action any more."""
        found = registry.actions.get(self.action_key)
        return found if isinstance(found, OutsideAction) else None

    def suspect(self) -> bool:
        """Whether workers died over it so that it is taken alone: one while its bytes were made, or two in the act, which takes longer
        and so is met more often by a death that it has not caused (RELIABILITY 26). One that a worker has outlived since is none."""
        return self.mode != "read_back" and self.tries.in_a_row > (1 if self.mode == "recover" else 0)

    def unsure(self) -> Unsure:
        """What its action says about an outcome that nobody can tell, after those tries that have ended."""
        action = self.action
        return action.unsure(self.envelope, self.tries.unknown + self.tries.lost) if action else "review"

    def doubtful(self) -> bool:
        """Whether a worker was lost over it and it must not be done again."""
        before = self.tries.unknown + self.tries.lost - 1
        action = self.action
        return self.tries.in_a_row >= LOST_LIMIT or action is None or action.unsure(self.envelope, before) == "review"


@dataclass(slots=True)
class Stopped:
    """A delivery that is not to be sent: it settles in a transaction of its own, unless somebody was faster."""

    job: Job
    state: str  # CANCELLED, SUPPRESSED, SKIPPED, FAILED or REVIEW
    answer: Outcome | None  # what the run is told; None: nothing, it has ended or is about to
    error: dict[str, str] | None = None


def gone(job: Job) -> Failed:
    """The answer for a delivery whose action is not installed any more."""
    return Failed("unknown_action", f"There is no action “{job.action_key}” in this installation.")
