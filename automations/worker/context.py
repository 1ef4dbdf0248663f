"""Answering what the walks of a batch ask, in bulk: one read per root, one `apply` per action (DESIGN 5.2, rounds)."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection, transaction

from accounts.prepared import prepared
from automations.engine.expressions import ExpressionError, compile_expression
from automations.engine.kinds import LocalAction, Need, Request
from automations.engine.moves import Apply, KeepBranch, Load, NextPage, Question
from automations.engine.outcomes import Failed, Outcome
from automations.engine.registry import registry
from automations.engine.scope import Records
from automations.engine.sight import holds
from automations.engine.walk import Walk
from automations.services.events import load_triggers
from automations.worker.copying import array
from automations.worker.resources import load_resources
from automations.worker.retrying import is_surroundings

log = logging.getLogger(__name__)
PAGES = 10  # pages of a query looked through at a time
Asked = tuple[Walk, Question]


class Context:
    """The records of one batch and the ways to get more."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.records = Records()

    def preload(self, walks: Iterable[Walk]) -> None:
        """Read the roots that the versions mention, so that most walks ask for nothing."""
        wanted: dict[str, set[int]] = defaultdict(set)
        for walk in walks:
            ids = walk.ids()
            for root in walk.plan.roots:
                if root in ids:
                    wanted[root].add(ids[root])
        self.load(wanted)
        self._preload_resources(walks)

    def _preload_resources(self, walks: Iterable[Walk]) -> None:
        """Named records that every run of a version needs, and whether its customers may be written to."""
        customers = self.records.by_root.get("customer", {})
        needs: dict[int, set[Need]] = defaultdict(set)
        for walk in walks:
            plan, wanted = walk.plan, needs[walk.run.workspace_id]
            wanted.update(plan.needs)
            customer = customers.get(walk.run.customer_id or 0) if plan.asks_consent else None
            if customer is not None and customer.get("email"):
                wanted.add(Need("consent", customer["email"]))
        self._load_resources(needs)

    def _load_resources(self, needs: Mapping[int, Iterable[Need]]) -> None:
        for workspace, named in needs.items():
            missing = [need for need in named if (workspace, need.kind, need.key) not in self.records.resources]
            if missing:
                found = load_resources(workspace, missing)
                for need in missing:
                    self.records.resources[workspace, need.kind, need.key] = found.get((need.kind, need.key))

    def load(self, wanted: Mapping[str, Iterable[int]]) -> None:
        """Read records by root, those that are not there yet."""
        for root, ids in wanted.items():
            have = self.records.by_root.get(root, {})
            missing = [id for id in ids if id not in have]
            if missing:
                self.records.put(root, _read(root, missing), missing)

    def answer(self, asked: Sequence[Asked]) -> list[Asked]:
        """Answer one round; those that have to wait for the next one are handed back."""
        self._loads([(walk, question) for walk, question in asked if isinstance(question, Load)])
        self._branches([(walk, question) for walk, question in asked if isinstance(question, KeepBranch)])
        for walk, question in asked:
            if isinstance(question, NextPage):
                walk.give(self._page(walk, question))
        return self._effects([(walk, question) for walk, question in asked if isinstance(question, Apply)])

    def _loads(self, asked: Sequence[tuple[Walk, Load]]) -> None:
        wanted: dict[str, set[int]] = defaultdict(set)
        needs: dict[int, set[Any]] = defaultdict(set)
        for walk, question in asked:
            for root, ids in question.wanted.items():
                wanted[root].update(ids)
            needs[walk.run.workspace_id].update(question.needs)
        self.load(wanted)
        self._load_resources(needs)

    def _branches(self, asked: Sequence[tuple[Walk, KeepBranch]]) -> None:
        """The first passage of a customer is kept; later ones get what is kept (C-20)."""
        if not asked:
            return
        keys = [
            (walk.run.workspace_id, walk.subjects()["customer"], walk.run.automation_id, question.step, question.branch)
            for walk, question in asked
        ]
        columns = [list(column) for column in zip(*sorted(set(keys)), strict=True)]
        with connection.cursor() as cursor:
            cursor.execute(_KEEP_BRANCH, columns)
            fresh = {tuple(row) for row in cursor.fetchall()}
            cursor.execute(_KEPT_BRANCH, columns[:4])
            kept = {tuple(row[:4]): row[4] for row in cursor.fetchall()}
        for (walk, question), key in zip(asked, keys, strict=True):
            walk.give((kept.get(key[:4], question.branch), key[:4] not in fresh))

    def _page(self, walk: Walk, question: NextPage) -> list[Any]:
        """Pages of a query until one holds a record for which `where` is true, at most so many that the batch's locks stay short:
        `[found, last id, whether there may be more]`."""
        query = registry.queries[question.query]
        subject = registry.roots[query.root].subject
        after, more = question.after, True
        found: list[Mapping[str, int]] = []
        for _ in range(PAGES):
            page = query.page(walk.run.workspace_id, after, question.limit)
            more = len(page) == question.limit
            if page:
                after = page[-1][subject]
                found = self._matching(walk, question.where, query.root, page)
            if found or not more:
                break
        return [found, after, more]

    def _matching(
        self, walk: Walk, where: str | None, root: str, page: Sequence[Mapping[str, int]]
    ) -> list[Mapping[str, int]]:
        """The records of a page for which `where` is true, read in bulk. One that cannot be judged is passed over, visibly."""
        if where is None:
            return list(page)
        for name in {root, *compile_expression(where, walk.plan.names).roots}:
            spec = registry.roots.get(name)
            if spec is not None:
                self.load({name: {item[spec.subject] for item in page if spec.subject in item}})
        return [item for item in page if judge(walk, self, where, item)]

    def _effects(self, asked: Sequence[tuple[Walk, Apply]]) -> list[Asked]:
        """Local effects, one `apply` per action. Two runs of one customer never ask in the same round."""
        groups: dict[str, list[tuple[Walk, Apply]]] = defaultdict(list)
        later: list[Asked] = []
        busy: set[int] = set()
        for walk, question in asked:
            customer = question.request.subjects.get("customer", -walk.run.id)
            if customer in busy:
                later.append((walk, question))
                continue
            busy.add(customer)
            groups[question.action].append((walk, question))
        for action, members in groups.items():
            outcomes = apply_all(registry.actions[action], [question.request for _, question in members], self.now)
            for (walk, _), outcome in zip(members, outcomes, strict=True):
                walk.give(outcome)
        return later


_KEEP_BRANCH = """
INSERT INTO automations_splitchoice (workspace_id, customer_id, automation_id, step, branch)
SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::text[])
ON CONFLICT DO NOTHING RETURNING workspace_id, customer_id, automation_id, step
"""
_KEPT_BRANCH = """
SELECT s.workspace_id, s.customer_id, s.automation_id, s.step, s.branch FROM automations_splitchoice s
JOIN unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::text[]) AS u(workspace_id, customer_id, automation_id, step)
USING (workspace_id, customer_id, automation_id, step)
"""


def _read(root: str, ids: Sequence[int]) -> Mapping[int, Any]:
    if root == "trigger":
        return load_triggers(ids)
    return registry.roots[root].load(ids)


def apply_all(action: Any, requests: Sequence[Request], at: datetime) -> list[Outcome]:
    """Apply in one savepoint; when that raises, by halves, so that the culprit alone takes its error (DESIGN 5.2)."""
    assert isinstance(action, LocalAction)
    try:
        with transaction.atomic():
            return list(action.apply(requests, at))
    except MemoryError:  # not this action's fault alone: the batch breaks off (`poison.out_of_memory`)
        raise
    except Exception as error:  # an action may raise anything; the rest of the batch must not suffer
        if is_surroundings(error):
            raise
        if len(requests) == 1:
            return [Failed("internal", f"{type(error).__name__}: {error}")]
    middle = len(requests) // 2
    return [*apply_all(action, requests[:middle], at), *apply_all(action, requests[middle:], at)]


def judge(walk: Walk, context: Context, where: str, subjects: Mapping[str, int]) -> bool:
    """Whether `where` holds of a record of a query. One that cannot be judged is passed over, visibly."""
    try:
        return holds(walk, where, subjects, lambda need: context.load(need.wanted))
    except ExpressionError as error:
        log.warning("exec_%s: a record %s cannot be judged: %s", walk.run.id, dict(subjects), error)
        return False


def load_workspaces(ids: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Name, currency and time zone of workspaces, for templates and clocks."""
    with prepared() as cursor:
        cursor.execute(_WORKSPACES, [array(sorted(set(ids)))])
        rows = cursor.fetchall()
    return {
        id: {
            "id": f"ws_{id}",
            "name": name,
            "slug": slug,
            "currency": currency,
            "timeZone": time_zone,
            "zone": ZoneInfo(time_zone or "UTC"),
        }
        for id, name, slug, currency, time_zone in rows
    }


# Asked by every batch: planned once for each connection.
_WORKSPACES = """
select id, name, slug, currency, time_zone from accounts_workspace where id = any((select %s::bigint[])::bigint[])
"""


def load_items(walks: Sequence[Walk]) -> None:
    """Loop items of runs that parked inside a loop over a list."""
    inside = {
        walk.run.id: walk.run for walk in walks if any("key" in frame for frame in walk.run.state.get("frames", ()))
    }
    if not inside:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT run_id, items::text FROM automations_runinput WHERE run_id = ANY(%s)", [list(inside)])
        for id, items in cursor.fetchall():
            inside[id].items = json.loads(items)
            inside[id].had_items = True
