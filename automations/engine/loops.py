"""Frames: where a run stands inside its loops. Kept in the run's state, innermost last (DESIGN 4, STP-09, STP-24).

A frame is plain JSON: `loop` (step id), `seq` and `at` of the loop's visit, `i` (index of the present item), `as`, and for a list `n`
(its items lie beside the row under `key`), for a query `query`, `where`, `page` (subjects still to come), `after`, `more`,
`subjects` of the present record.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from automations.engine.plan import Plan
    from automations.engine.run_state import RunState
    from automations.engine.scope import Records


class Frames:
    """The loop frames of one run during one turn."""

    def __init__(self, run: RunState) -> None:
        self._run = run
        self._stack: list[dict[str, Any]] = [dict(frame) for frame in run.state.get("frames", ())]

    @property
    def top(self) -> dict[str, Any] | None:
        """The innermost frame."""
        return self._stack[-1] if self._stack else None

    @property
    def loop(self) -> str:
        """The step id of the innermost loop."""
        return str(self._stack[-1]["loop"])

    @property
    def entered_at(self) -> datetime:
        """When the innermost loop's visit began."""
        return datetime.fromisoformat(self._stack[-1]["at"])

    def stands_on(self, loop: str) -> bool:
        """Whether the innermost frame is that loop's."""
        return bool(self._stack) and self._stack[-1]["loop"] == loop

    def enter(self, loop: str, frame: Mapping[str, Any], seq: int, at: datetime) -> None:
        """Begin an iteration: push the frame at the first item, replace it at the others."""
        if self.stands_on(loop):
            self._stack[-1] = {**self._stack[-1], **frame}
        else:
            self._stack.append({"loop": loop, "seq": seq, "at": at.isoformat(), **frame})

    def left(self, step: str) -> bool:
        """A step was left: if it is the innermost loop, its frame and its items go. Answers whether it was."""
        if not self.stands_on(step):
            return False
        frame = self._stack.pop()
        self._run.items.pop(frame.get("key", ""), None)
        return True

    def visit_of(self, step: str, seq: int) -> int:
        """The number of the visit that a log row of `step` belongs to."""
        return int(self._stack[-1]["seq"]) if self.stands_on(step) else seq

    def iteration(self, step: str) -> str | None:
        """`2`, in nested loops `2.0`; None outside of loops. A loop's own row counts as outside of itself."""
        if not self._stack:
            return None
        frames = self._stack[:-1] if self.stands_on(step) else self._stack
        return ".".join(str(frame["i"]) for frame in frames) or None

    def subjects(self, own: Mapping[str, int]) -> Mapping[str, int]:
        """The run's subjects, overlaid by those of the records that query loops stand on."""
        if not self._stack:
            return own
        found = [frame["subjects"] for frame in self._stack if frame.get("subjects")]
        return {**own, **{key: value for item in found for key, value in item.items()}} if found else own

    def values(self, records: Records, plan: Plan) -> dict[str, Any]:
        """What expressions read of the loops: `loop.*` and the items under their names."""
        values: dict[str, Any] = {}
        for frame in self._stack:
            values[frame["as"]] = self._item(frame, records, plan)
        if self._stack:
            values["loop"] = _facts(self._stack[-1])
        return values

    def _item(self, frame: Mapping[str, Any], records: Records, plan: Plan) -> Any:
        if "query" not in frame:
            return self._run.items[frame["key"]][frame["i"]]
        root = plan.registry.queries[frame["query"]].root
        return records.get(root, frame["subjects"][plan.registry.roots[root].subject])

    def save(self) -> None:
        """Write the frames back into the run's state."""
        if self._stack:
            self._run.state["frames"] = self._stack
        else:
            self._run.state.pop("frames", None)


def _facts(frame: Mapping[str, Any]) -> dict[str, Any]:
    last = frame["i"] + 1 == frame["n"] if "n" in frame else not frame["page"] and not frame["more"]
    return {"index": frame["i"], "first": frame["i"] == 0, "last": last}
