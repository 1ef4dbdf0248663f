"""Loop: walks its body once per item of a list, or per record of a query (STP-04, STP-09, STP-24, C-33)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from automations.engine.expressions import compile_template
from automations.engine.kinds import Config, ControlStep, Expression, TemplateText
from automations.engine.moves import Ask, Enter, Go, Move, NextPage
from automations.engine.values import plain
from automations.engine.walk import BodyEnded, Walk

LIST_CAP = 1_000  # items of a list; queries are walked in pages without a cap (DESIGN 6)


class Over(Config):
    """A query: `customers`, `subscriptions` or `invoices`, and what must hold of each record."""

    query: str = Field(title="Records")
    where: Expression | None = Field(None, title="Where", json_schema_extra={"x-widget": "condition"})


class LoopConfig(Config):
    """`over` is a template giving a list, or a query; `as` names the item."""

    over: TemplateText | Over = Field(title="Over")
    as_: str = Field("item", alias="as", title="Call each one", pattern=r"^[a-z][A-Za-z0-9_]{0,40}$")

    @model_validator(mode="after")
    def _reserved(self) -> LoopConfig:
        if self.as_ in {"trigger", "event", "steps", "loop", "wait", "run", "workspace", "now"}:
            raise ValueError(f"“{self.as_}” is taken; call the item something else")
        return self


class TooMany(ValueError):
    """The list has more items than the cap."""


class Loop(ControlStep):
    """Iterations are visits of the body's steps; the loop itself is one visit, logged when it is left."""

    key = "loop"
    label = "Loop"
    help = "Repeats its steps for every item of a list or every record of a query."
    icon = "repeat"
    Config = LoopConfig

    def ports(self, config: Any) -> tuple[str, ...]:
        return ("each", "next")

    def summary(self, config: LoopConfig) -> str:
        return f"For each {config.as_} of {config.over if isinstance(config.over, str) else config.over.query}"

    def sample(self) -> LoopConfig:
        return LoopConfig.model_validate({"over": "{{customer.tags}}", "as": "tag"})

    def enter(self, config: LoopConfig, walk: Walk) -> Move:
        if isinstance(config.over, Over):
            return Ask(NextPage(config.over.query, config.over.where, _looked(walk)))
        items = _items(walk, config.over)
        if not items:
            return Go("next", {"count": 0})
        key = f"{walk.run.step}:{walk.run.seq}"
        walk.run.items[key] = items
        return Enter({"as": config.as_, "i": 0, "n": len(items), "key": key})

    def resume(self, config: LoopConfig, walk: Walk, answer: Any) -> Move:
        frame = walk.frames.top if walk.frames.stands_on(walk.run.step or "") else None
        if answer is BodyEnded and frame is not None:
            return self._next_item(config, walk, frame)
        return self._page(config, walk, list(answer), frame)

    def _next_item(self, config: LoopConfig, walk: Walk, frame: Mapping[str, Any]) -> Move:
        index = frame["i"] + 1
        if "n" in frame:
            return Enter({"i": index}) if index < frame["n"] else Go("next", {"count": frame["n"]})
        if frame["page"]:
            return Enter({"i": index, "subjects": frame["page"][0], "page": frame["page"][1:]})
        if not frame["more"] or not isinstance(config.over, Over):
            return Go("next", {"count": index})
        return Ask(NextPage(config.over.query, config.over.where, frame["after"]))

    def _page(self, config: LoopConfig, walk: Walk, answer: list[Any], frame: dict[str, Any] | None) -> Move:
        """`answer` is `[subjects of the records found, last id looked at, whether there may be more]`."""
        found, after, more = answer
        query, where = (config.over.query, config.over.where) if isinstance(config.over, Over) else ("", None)
        if not found and more:
            _look_on(walk, frame, after)
            return Ask(NextPage(query, where, after))
        walk.run.state.pop("scan", None)
        index = frame["i"] + 1 if frame else 0
        if not found:
            return Go("next", {"count": index})
        place = {"as": config.as_, "i": index, "query": query, "after": after, "more": more}
        return Enter({**place, "subjects": found[0], "page": list(found[1:])})


def _looked(walk: Walk) -> int:
    """The id up to which this loop has looked without finding a record, kept for a turn that ends in the middle of it."""
    return int(walk.run.state.get("scan", {}).get(walk.run.step, 0))


def _look_on(walk: Walk, frame: dict[str, Any] | None, after: int) -> None:
    if frame is None:
        walk.run.state["scan"] = {walk.run.step: after}
    else:
        frame["after"] = after


def _items(walk: Walk, source: str) -> list[Any]:
    text = source if "{" in source else "{{" + source + "}}"
    items = compile_template(text, walk.plan.names).value(walk.scope().env)
    items = list(items) if isinstance(items, (list, tuple)) else []
    if len(items) > LIST_CAP:
        raise TooMany(f"The list has {len(items)} items, more than the {LIST_CAP} that a loop may walk; use a query.")
    return [plain(item) for item in items]


step = Loop()
