"""What becomes of a delivery after a try: pure rules (DESIGN 5.3, ERR-01 to 03, ERR-10, RELIABILITY 5).

One layer of retries: those of the delivery. A permanent failure is never repeated, a declined card is no failure,
money keeps its key, and what nobody can tell is read back, then shown to a person.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from automations.engine.kinds import Unsure
from automations.engine.outcomes import Done, Failed, Outcome, Refused, Skipped, Suppressed, Unknown

KEY_AGE = timedelta(hours=20)  # providers may drop keys after 24 h
ASK_AFTER_CAP = 3600.0  # seconds: what a `Retry-After` can ask for at most
LONGEST_BUILT_IN = 3600.0  # seconds: cap of the waits nobody wrote down
JITTER = 0.1
LOST_LIMIT = 3  # workers that may die holding one delivery, one after the other
_LOOKS = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30))


@dataclass(frozen=True, slots=True)
class Tries:
    """How the tries of a delivery that have ended came out. `lost`: those that a worker died in and in which it may have been sent,
    because its bytes had been stored; `in_a_row`: all that one died in, and that none has outlived since."""

    failed: int = 0
    unknown: int = 0
    lost: int = 0
    in_a_row: int = 0

    def and_lost(self, stored: bool) -> Tries:
        """The same and one more that a worker died in; `stored`: its bytes were."""
        return replace(self, lost=self.lost + stored, in_a_row=self.in_a_row + 1)


@dataclass(frozen=True, slots=True)
class Rules:
    """The retry policy of one delivery: `delay` in seconds before the first repetition, each further wait
    multiplied."""

    retries: int
    delay: float
    backoff: float
    exact: bool  # explicit waits are exact, built-in ones jittered by up to a tenth
    money: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The next state. `wait`: seconds until it is looked at again, None when it is settled. `answer`: what the run is
    told, None while it has to go on waiting. `person`: somebody has to look at it."""

    state: str
    attempt: str  # the `outcome` of the attempt row
    wait: float | None = None
    answer: Outcome | None = None
    person: bool = False


def settled_state(outcome: Outcome) -> str:
    """The state of a delivery that settled with this outcome and is not looked at again."""
    return next(state for kind, state in _STATES if isinstance(outcome, kind))


_STATES: tuple[tuple[type, str], ...] = (
    (Done, "SENT"),
    (Failed, "FAILED"),
    (Refused, "REFUSED"),
    (Suppressed, "SUPPRESSED"),
    (Skipped, "SKIPPED"),
    (Unknown, "REVIEW"),
)


def judge(outcome: Outcome, rules: Rules, tries: Tries, unsure: Unsure, jitter: float) -> Verdict:
    """What follows from an act. `tries` are those before this one; `jitter` is a random number between 0 and 1."""
    if isinstance(outcome, Unknown):
        return _unsure(outcome, rules, tries, unsure, jitter)
    if isinstance(outcome, Failed):
        if outcome.temporary and tries.failed < rules.retries:
            return Verdict("QUEUED", "failed", wait=next_wait(rules, tries.failed, outcome, jitter))
        return Verdict("FAILED", "failed", answer=outcome)
    attempt = "ok" if isinstance(outcome, Done) else "refused"
    return Verdict(settled_state(outcome), attempt, answer=outcome)


def in_doubt(outcome: Outcome, rules: Rules, tries: Tries) -> Outcome:
    """What a try of money says when a worker was lost over an earlier one. That it failed for now says nothing about the other, whose
    request may arrive yet, sent by a worker that slept: nobody can tell, so the provider is asked about the key from then on. Any
    other answer stands: under one key the provider gives it to both."""
    if isinstance(outcome, Failed) and outcome.temporary and rules.money and tries.lost:
        return Unknown(f"{outcome.message} An earlier try may have been made.")
    return outcome


def _unsure(outcome: Unknown, rules: Rules, tries: Tries, unsure: Unsure, jitter: float) -> Verdict:
    if unsure == "repeat":
        return judge(Failed("no_answer", outcome.message, temporary=True), rules, tries, unsure, jitter)
    if unsure == "resend":
        return Verdict("QUEUED", "unknown", wait=next_wait(rules, tries.unknown, None, jitter))
    if unsure == "review":
        return review(outcome, rules, "unknown")
    return Verdict("UNKNOWN", "unknown", wait=_LOOKS[0].total_seconds())


def review(outcome: Unknown, rules: Rules, attempt: str = "") -> Verdict:
    """A person decides. A run that waits for money stays where it is; any other goes on with what is known."""
    return Verdict("REVIEW", attempt, answer=None if rules.money else outcome, person=True)


def next_wait(rules: Rules, failed: int, outcome: Failed | None, jitter: float) -> float:
    """Seconds before the try that follows `failed` failed ones before this: 5, 10, 20 minutes for `5m` and 2
    (ERR-03), but no sooner than the receiver asked for."""
    wait = rules.delay * rules.backoff**failed
    if not rules.exact:
        wait = min(wait, LONGEST_BUILT_IN) * (1 + JITTER * jitter)
    asked = outcome.details.get("retryAfter", 0) if outcome else 0
    return max(wait, min(float(asked), ASK_AFTER_CAP))


def read_back(found: Outcome | None, rules: Rules, since: datetime, now: datetime) -> Verdict:
    """What follows from asking the provider what became of a key. None means that it cannot tell either: asked again
    after 1, 5 and 30 minutes, then every hour, for 20 hours (evaluation clock)."""
    if found is not None and not isinstance(found, Unknown):
        return judge(found, Rules(0, 0, 1, True, rules.money), Tries(), "review", 0)
    wait = next_look(now - since)
    if wait is None:
        return review(found or Unknown("The provider could not say what became of it."), rules)
    return Verdict("UNKNOWN", "", wait=wait.total_seconds())


def next_look(elapsed: timedelta) -> timedelta | None:
    """How long until it is read back again, None when the time for that is over."""
    for moment in _LOOKS:
        if elapsed < moment:
            return moment - elapsed
    if elapsed >= KEY_AGE:
        return None
    hours = (elapsed - _LOOKS[-1]) // timedelta(hours=1) + 1
    return min(_LOOKS[-1] + hours * timedelta(hours=1), KEY_AGE) - elapsed


def may_repeat(money: bool, first: datetime | None, now: datetime) -> bool:
    """Whether the key may still be used: for money only within 20 hours of real time after the first try (INVARIANTS
    M2)."""
    return not money or first is None or now - first < KEY_AGE


def is_settled(outcome: Outcome | None) -> bool:
    """Whether reading back gave a result."""
    return isinstance(outcome, (Done, Failed, Refused))
