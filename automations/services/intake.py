"""Posted events: read, resolved and recorded, all or none, in order, with a fixed number of queries (CONTRACTS 7, TRG-50, TRG-52).

A posted catalogue event is a report: it starts, wakes and ends runs, and changes no billing object.
"""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.db import connection, transaction

from accounts.actor import Actor
from accounts.api.bodies import read_json
from accounts.errors import Refusal
from accounts.ids import public_id
from automations.engine.event_names import catalogue_names, is_known
from automations.engine.registry import registry
from automations.models import Delivery
from automations.services.events import NewEvent, Recorded, record_events, short
from automations.services.intake_customers import find_customers, told
from automations.services.intake_reading import GivenCustomer, Posted, Ref, read_events
from automations.services.newcomers import Raced, make_customers
from automations.services.snapshots import Known
from automations.worker.retrying import retrying

SMALL = 8 * 1024  # bytes of a body that is read before it is known who sends it
RACES = 5  # tries when others make the same new customers at the same moment


@dataclass(slots=True)
class Early:
    """A single event that was read before it was known who sends it, and the row of the customer that it names."""

    body: Any
    posted: Posted
    row: Sequence[Any] | None = None

    @property
    def ref(self) -> Ref:
        """How it names its customer."""
        assert self.posted.customer is not None
        return self.posted.customer.refs[0]


@dataclass(slots=True)
class Resolved:
    """What the references of a request stand for: subjects by object name and event, and who has still to be made."""

    subjects: list[dict[str, int]]
    known: Known = field(default_factory=Known)
    new: dict[int, Mapping[str, Any]] = field(default_factory=dict)  # index -> fields of an unknown customer


def look_ahead(raw: bytes) -> Early | None:
    """What can be known of a request's body before it is known who asks: None for all but one event of an ordinary size about one
    customer, and for what will be refused, in the order in which things are refused."""
    try:
        body = read_json(raw)
        posted = read_events(body)
    except Refusal:
        return None
    customer = posted[0].customer
    if "events" in body or customer is None or len(customer.refs) != 1:
        return None
    return Early(body, posted[0])


def post_events(
    *, actor: Actor, body: Any, idempotency_key: str | None = None, early: Early | None = None
) -> list[Recorded]:
    """Record one event or a list. Refusals name the place (`events[3].customer`): `invalid`, `unknown_key`, `unknown_event`,
    `unknown_reference`, `customer_conflict`, `event_conflict`, `limit_exceeded`. Nothing is written then. What was read of the body
    `early` is not read again."""
    actor.require("events")
    posted = read_events(body) if early is None else [early.posted]
    refuse_unknown_names(posted)
    keys = [item.id or _key(idempotency_key, index, len(posted)) for index, item in enumerate(posted)]
    for _ in range(RACES):
        try:
            return _retried(partial(_record, actor, posted, keys, early))
        except Raced:  # the customer that was unknown a moment ago is known now
            early = None
    raise Refusal("customer_conflict", "A customer of these events is being made by other requests; send them again.")


def _retried(record: Callable[[], list[Recorded]]) -> list[Recorded]:
    """Again after a deadlock, which requests may run into whose new customers share addresses with one and own ids with another.
    Within a transaction of the caller it is the caller's to repeat; there a refusal takes back only what was done here."""
    if not connection.in_atomic_block:
        return retrying(record)
    with transaction.atomic():
        return record()


def _record(actor: Actor, posted: Sequence[Posted], keys: Sequence[str], early: Early | None) -> list[Recorded]:
    """Tried again it has the same keys: what was recorded although its answer was lost is found and not recorded twice."""
    found = _resolve(actor.workspace_id, posted, early)
    if not found.new:
        return record_events(_events(actor.workspace_id, posted, found.subjects, keys), found.known)
    with transaction.atomic():
        made = make_customers(actor, list(found.new.values()))
        for index, customer in zip(found.new, made, strict=True):
            found.subjects[index]["customer"] = customer
        return record_events(_events(actor.workspace_id, posted, found.subjects, keys), found.known)


def _events(
    workspace_id: int, posted: Sequence[Posted], subjects: Sequence[Mapping[str, int]], keys: Sequence[str]
) -> list[NewEvent]:
    return [
        NewEvent(
            workspace_id=workspace_id,
            name=item.name,
            source="api",
            key=keys[index],
            subjects=subjects[index],
            payload=item.payload,
            occurred_at=item.occurred_at,
            origin="api",
        )
        for index, item in enumerate(posted)
    ]


def _key(idempotency_key: str | None, index: int, count: int) -> str:
    """Without an id the request's key names the event; in a list, with its place."""
    if idempotency_key is None:
        return f"made:{uuid.uuid4().hex}"
    return idempotency_key if count == 1 else f"{short(idempotency_key)}:{index}"


def refuse_unknown_names(posted: Sequence[Posted]) -> None:
    """A name inside a group of the catalogue must be known; the refusal has the nearest one (TRG-52)."""
    for item in {item.name: item for item in reversed(posted)}.values():
        if not is_known(item.name, registry):
            near = difflib.get_close_matches(item.name, sorted(catalogue_names(registry)), n=1, cutoff=0.5)
            advice = f"did you mean {near[0]}?" if near else "take a name outside its group for an event of your own."
            details = {"name": item.name, "nearest": near[0] if near else None, "path": item.path("name")}
            raise Refusal("unknown_event", f"There is no event “{item.name}”; {advice}", details)


# -- references ----------------------------------------------------------------------------------------------------------


def _resolve(workspace_id: int, posted: Sequence[Posted], early: Early | None) -> Resolved:
    """All references of one kind in one call of its root."""
    found = Resolved([{} for _ in posted])
    for name in ("payment", "invoice", "subscription", "delivery") if any(item.refs for item in posted) else ():
        _resolve_objects(name, workspace_id, posted, found)
    _resolve_customers(workspace_id, posted, found, early)
    return found


def _resolve_objects(name: str, workspace_id: int, posted: Sequence[Posted], found: Resolved) -> None:
    refs: dict[int, Ref] = {index: item.refs[name] for index, item in enumerate(posted) if name in item.refs}
    if not refs:
        return
    distinct = list({_hashable(ref): ref for ref in refs.values()}.values())
    answers = _deliveries(workspace_id, distinct) if name == "delivery" else _of_root(name, workspace_id, distinct)
    by_ref = {_hashable(ref): subjects for ref, subjects in zip(distinct, answers, strict=True)}
    for index, ref in refs.items():
        subjects = by_ref[_hashable(ref)]
        if subjects is None:
            raise _unknown(name, ref, posted[index])
        _join(found.subjects[index], subjects, posted[index])


def _of_root(name: str, workspace_id: int, refs: Sequence[Ref]) -> Sequence[Mapping[str, int] | None]:
    root = registry.roots.get(name)
    return root.resolve(workspace_id, refs) if root is not None else [None] * len(refs)


def _deliveries(workspace_id: int, refs: Sequence[Ref]) -> list[Mapping[str, int] | None]:
    """An e-mail of ours brings its customer."""
    ids = [ref for ref in refs if isinstance(ref, int)]
    rows = Delivery.objects.filter(workspace_id=workspace_id, pk__in=ids).values_list("pk", "customer_id")
    known = {id: {"delivery": id} | ({"customer": customer} if customer else {}) for id, customer in rows}
    return [known.get(ref) if isinstance(ref, int) else None for ref in refs]


def _join(subjects: dict[str, int], more: Mapping[str, int], item: Posted) -> None:
    """An invoice brings its subscription and customer; what two references bring must agree."""
    for name, id in more.items():
        if subjects.setdefault(name, id) != id:
            code = "customer_conflict" if name == "customer" else "invalid"
            message = f"{item.path(name)}: the references of this event belong to two different objects ({name})."
            raise Refusal(
                code, message, {"path": item.path(name), "fields": {item.path(name): ["two different objects"]}}
            )


def _resolve_customers(workspace_id: int, posted: Sequence[Posted], found: Resolved, early: Early | None) -> None:
    """A known customer is never changed by an event; an unknown one, given by e-mail or own id, is made with the fields beside."""
    named: dict[int, tuple[GivenCustomer, dict[Any, Ref]]] = {}
    refs: dict[Any, Ref] = {}
    for index, item in enumerate(posted):
        if item.customer is not None:
            named[index] = item.customer, {_hashable(ref): ref for ref in item.customer.refs}
            refs.update(named[index][1])
    if not named:
        return
    answered, found.known = (
        find_customers(workspace_id, list(refs.values())) if early is None else told(workspace_id, early.row)
    )
    answers = dict(zip(refs, answered, strict=True))
    for index, (customer, by) in named.items():
        ids = {answer["customer"] for key in by if (answer := answers[key]) is not None}
        if len(ids) > 1:
            raise _two_customers(posted[index], ids)
        if ids:
            _join(found.subjects[index], {"customer": ids.pop()}, posted[index])
        elif isinstance(customer.refs[0], int) or "customer" in found.subjects[index]:
            raise _unknown("customer", customer.refs[0], posted[index])
        else:
            found.new[index] = customer.fields


def _two_customers(item: Posted, ids: set[int]) -> Refusal:
    names = sorted(public_id("cus", id) for id in ids)
    message = f"{item.path('customer')}: its keys belong to {' and '.join(names)}; send one of them, or merge the two."
    return Refusal("customer_conflict", message, {"path": item.path("customer"), "customers": names})


def _unknown(name: str, ref: Ref, item: Posted) -> Refusal:
    shown = public_id(_prefix(name), ref) if isinstance(ref, int) else dict(ref)
    message = f"{item.path(name)}: there is no {name} {shown} in this workspace."
    return Refusal("unknown_reference", message, {"path": item.path(name), "reference": shown})


def _prefix(name: str) -> str:
    return "dlv" if name == "delivery" else registry.roots[name].prefix


def _hashable(ref: Ref) -> Any:
    """A reference that is no number has one key."""
    return ref if isinstance(ref, int) else tuple(ref.items())
