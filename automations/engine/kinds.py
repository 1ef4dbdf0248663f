"""The kinds of things one can add to the product: actions, control steps, triggers, variable roots, queries, channels, gateways.

A new one is one module in a walked package, holding one class and one instance of it (CONTRACTS 6, DESIGN 2). Configuration is a
pydantic model with `extra="forbid"`; the palette, the form, the validator, the YAML reader, the catalogue and the reference page
are all made from the declaration. Nothing here reads the clock, the database, the network or a random source: actions and roots
that do so live outside the engine and are called by the shell.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from automations.engine.outcomes import Outcome

if TYPE_CHECKING:
    from automations.engine.moves import Move
    from automations.engine.scope import Scope
    from automations.engine.walk import Walk


Model = type[BaseModel]  # a name of its own: a class attribute `type` hides the built-in one


class Config(BaseModel):
    """Base of every configuration and parameter model. Python names are snake_case, written keys camelCase by alias."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, frozen=True)


@dataclass(frozen=True, slots=True)
class Marker:
    """Says how the texts in a configuration field are read: as an `expression`, a `template` (anywhere inside the value, which
    may be nested data), or a `duration`. The validator and the plan compiler find expressions by it."""

    kind: Literal["expression", "template", "duration"]
    place: Literal["text", "header", "url", "json", "html"] = "text"


Expression = Annotated[str, Marker("expression")]
TemplateText = Annotated[str, Marker("template")]
HeaderText = Annotated[str, Marker("template", "header")]
UrlText = Annotated[str, Marker("template", "url")]
TemplateData = Annotated[Any, Marker("template", "json")]
DurationText = Annotated[str, Marker("duration")]


@dataclass(frozen=True, slots=True)
class Need:
    """A record that a step's configuration names, to be read in bulk before the step is prepared (`Scope.resource`).
    `kind`: `email_template`, `sender`, `tag`, `automation`, `stage`, ... ; `key`: its slug, None for the default one."""

    kind: str
    key: str | None


class Kind:
    """What every step, control step or action, declares."""

    key: ClassVar[str]
    label: ClassVar[str]
    help: ClassVar[str] = ""
    group: ClassVar[str] = "Workflow"  # Communication, Billing, Records, Workflow (ACT-36)
    icon: ClassVar[str] = "step"
    Config: ClassVar[type[BaseModel]] = Config
    Output: ClassVar[type[BaseModel]] = Config  # its JSON Schema says what `steps.<id>.*` offers
    subjects: ClassVar[frozenset[str]] = (
        frozenset()
    )  # objects the run must be about: customer, invoice, subscription, payment
    triggers: ClassVar[frozenset[str] | None] = None  # trigger keys it is allowed on; None: all that have its subjects
    effect: ClassVar[Literal["none", "local", "outside"]] = "none"
    money: ClassVar[bool] = False
    ends_run: ClassVar[bool] = False  # nothing after it is executed (C-12)
    reads: ClassVar[tuple[Need, ...]] = ()  # records of the workspace that every preparation reads beside its `needs`
    asks_consent: ClassVar[bool] = False  # it writes to the customer: whether that is allowed is read for a whole batch
    depth: ClassVar[int] = 1  # what it adds to the depth of LIM-10; splits add 0 (C-16)

    def ports(self, config: Any) -> tuple[str, ...]:
        """Names of the outputs that exist with this configuration, in drawing order."""
        return ("next",)

    def summary(self, config: Any) -> str:
        """One line in words for the card on the canvas."""
        return self.label

    def sample(self) -> BaseModel:
        """A valid configuration; the contract test runs on it."""
        return self.Config()

    def needs(self, config: Any) -> tuple[Need, ...]:
        """Records that `prepare` reads through `Scope.resource`; an unknown one is a problem when validated."""
        return ()

    def templates(self, config: Any) -> Iterable[str]:
        """Further template texts that this step evaluates beside its marked fields (for instance those of a named record are
        not known here and come with the record)."""
        return ()


class ControlStep(Kind):
    """A step that only steers the run: no effect of its own. `enter` when the run reaches it, `resume` when it stood on it
    (its timer came due, its event arrived, its question was answered)."""

    def enter(self, config: Any, walk: Walk) -> Move:
        raise NotImplementedError

    def resume(self, config: Any, walk: Walk, answer: Any) -> Move:
        raise NotImplementedError


class Action(Kind):
    """A step with an effect. It has the port `next` and, where a fallback is wanted, `error`."""

    def ports(self, config: Any) -> tuple[str, ...]:
        return ("next", "error")


@dataclass(frozen=True, slots=True)
class Request:
    """A local effect, prepared: written relative to rows that `apply` locks, never from what was read before (DESIGN 5.2).

    `subjects` are the ids it is about (`{"customer": 7, "invoice": 8}`), `input` what the log shows, `data` what `apply` needs.
    """

    subjects: Mapping[str, int]
    input: Mapping[str, Any]
    data: Any = None
    workspace_id: int = 0  # filled by the walk, with the rest
    run_id: int = 0
    automation_id: int = 0
    step: str = ""
    visit: int = 0


class LocalAction(Action):
    """An effect on our own rows, inside the advancing transaction, applied for a whole batch at once."""

    effect = "local"
    changes: ClassVar[frozenset[str]] = (
        frozenset()
    )  # roots that it may change: read again before they are used in this turn

    def prepare(self, config: Any, scope: Scope) -> Request | Outcome:
        """Pure. An `Outcome` in place of a request settles the step without any effect."""
        raise NotImplementedError

    def apply(self, requests: Sequence[Request], at: datetime) -> Sequence[Outcome]:
        """Do them all, in order, in the caller's savepoint; raise nothing for one bad request: its `Failed` is its answer.
        An exception makes the caller halve the batch until the culprit stands alone."""
        raise NotImplementedError


@dataclass(slots=True)  # not frozen: one is made for every act, and freezing triples what that costs
class Envelope:
    """An act outside, prepared: everything the delivery worker needs, resolved while advancing. `body` (JSON) holds the values
    of the variables; bytes are rendered at the first claim and stored before the act, the same on every try."""

    kind: str  # email, http, charge, void, ... : the `delivery.kind`
    body: Mapping[str, Any]
    input: Mapping[str, Any] = field(default_factory=dict)  # what the log shows
    output: Mapping[str, Any] = field(default_factory=dict)  # the step's output when it goes on without waiting
    to: str = ""
    subject: str = ""
    subjects: Mapping[str, int] = field(default_factory=dict)
    customer_mail: bool = False  # subject to consent
    waits: bool = True  # the run parks until it is settled; False: goes on when queued (send_email, EML-03)
    retries: int = 0  # built-in policy, when neither step nor automation has errorHandling
    retry_delay: int = 60  # seconds
    backoff: float = 2.0
    money: bool = False
    verdict: Outcome | None = (
        None  # known already not to be sent (consent, plan): written down as settled, with this result
    )


Unsure = Literal["read_back", "repeat", "resend", "review"]


class OutsideAction(Action):
    """An effect outside the database. `perform` is called by a delivery worker with no transaction open, may be called again
    with the same envelope, bytes and key, and never raises: what it cannot tell is `Unknown`."""

    effect = "outside"

    def prepare(self, config: Any, scope: Scope) -> Envelope | tuple[Envelope, ...] | Outcome:
        """Pure: read everything from `scope`. Several envelopes are several deliveries of one visit."""
        raise NotImplementedError

    def render(self, envelope: Envelope, key: str) -> bytes:
        """The bytes to be handed over, made once at the first claim and stored. Default: none are needed."""
        return b""

    def perform(self, envelope: Envelope, key: str, body: bytes) -> Outcome:
        raise NotImplementedError

    def find(self, envelope: Envelope, key: str) -> Outcome | None:
        """Read back from the provider what became of `key`; None: it cannot tell (DESIGN 5.3, UNKNOWN)."""
        return None

    def unsure(self, envelope: Envelope, before: int) -> Unsure:
        """What is done when nobody can tell whether the provider acted, `before` times already: `read_back` asks it by
        `find`, `repeat` does it again with the same key (receivers know it), `resend` once more without a key, `review`
        leaves it to a person."""
        return "read_back"

    def complete(self, envelopes: Sequence[tuple[int, Envelope]]) -> Sequence[Envelope]:
        """Add to the envelopes of a claim, given with their workspaces, what is not to be stored with each: a secret, the text
        of a template. Called with the database at hand, in bulk."""
        return [envelope for _workspace, envelope in envelopes]

    def settle(self, envelope: Envelope, outcome: Outcome, at: datetime) -> Outcome:
        """Write the consequences on our rows, in the settling transaction; returns the outcome that the run sees."""
        return outcome


@dataclass(frozen=True, slots=True)
class End:
    """What ends the runs of a trigger by itself: the event, the reason stored, and the predicate on the live object that says
    the same, judged before every step; an empty predicate means that only the event itself ends the run."""

    event: str
    reason: str
    predicate: str = ""
    own_effects: bool = True  # False: a change that the run itself caused does not end it (C-12)


class Trigger:
    """One entry of the trigger catalogue. One occurrence is one event row; `listens` says under which event names it comes."""

    key: ClassVar[str]
    group: ClassVar[str]
    label: ClassVar[str]
    hint: ClassVar[str] = ""
    type: ClassVar[Literal["event", "schedule", "manual"]] = "event"
    Parameters: ClassVar[Model] = Config
    subject: ClassVar[str] = "customer"  # the narrowest object: customer, subscription, invoice, payment or none
    provides: ClassVar[frozenset[str]] = frozenset({"customer"})  # all objects a run of it is about
    listens: ClassVar[tuple[str, ...]] = ()
    dispatch: ClassVar[Literal["parallel", "exclusive"]] = "parallel"
    ends: ClassVar[tuple[End, ...]] = ()
    reentry_subject: ClassVar[str] = "customer"
    transactional: ClassVar[bool] = False
    holds: ClassVar[str] = (
        ""  # predicate on the live object saying that the event's fact holds now (used by exits on this event)
    )
    legacy: ClassVar[bool] = False
    sample: ClassVar[Mapping[str, Any]] = {}  # a payload as `trigger.*` would show it
    Data: ClassVar[Model | None] = None  # declared fields of `trigger.*`; None: learned
    # Own fields that follow from other objects of the snapshot when its own object is absent: {"failureCount": "invoice.failedCount"}
    derived: ClassVar[Mapping[str, str]] = {}

    def applies(self, event: EventFacts, parameters: Any) -> bool:
        """Whether this occurrence is one of this trigger, with these parameters (TRG-33, TRG-42)."""
        return True

    def within(self, event: EventFacts, scope: tuple[str, ...]) -> bool:
        """Whether the occurrence is in the automation's scope (`funnel/stage` slugs, empty when global): a scope says whose
        funnel a trigger about funnels looks at (C-06, C-30)."""
        return True


class Content:
    """What an event says, worked out when somebody asks: most events are routed by their name and objects alone."""

    __slots__ = ("_said", "_work_out")

    def __init__(self, work_out: Callable[[], tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
        """`work_out` answers the payload, and snapshot and payload merged."""
        self._work_out = work_out
        self._said: tuple[Mapping[str, Any], Mapping[str, Any]] | None = None

    @classmethod
    def of(cls, trigger: Mapping[str, Any], payload: Mapping[str, Any]) -> Content:
        """What is known already."""
        return cls(lambda: (payload, trigger))

    @property
    def said(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Payload, and snapshot and payload merged."""
        if self._said is None:
            self._said = self._work_out()
        return self._said


@dataclass(frozen=True, slots=True)
class EventFacts:
    """An event as pure code sees it. `subjects` maps object names to ids; `trigger` is snapshot and payload merged (CONTRACTS 7)."""

    id: int
    name: str
    subjects: Mapping[str, int]
    content: Content
    occurred_at: datetime
    origin: str = "live"
    cause_run: int | None = None
    depth: int = 0
    changed_by_run: int | None = None

    @property
    def payload(self) -> Mapping[str, Any]:
        """What its sender said."""
        return self.content.said[0]

    @property
    def trigger(self) -> Mapping[str, Any]:
        """What the root `trigger` reads."""
        return self.content.said[1]


class Root:
    """A variable root (`customer`, `invoice`, ...): plain data, read in bulk. Keys of the data are camelCase."""

    name: ClassVar[str]
    label: ClassVar[str] = ""
    prefix: ClassVar[str] = ""  # id prefix: cus, inv, ...
    other_names: ClassVar[tuple[str, ...]] = ()  # profile
    subject: ClassVar[str] = (
        ""  # the subject key whose id it is loaded by; "run": by run id; "workspace": by workspace id
    )
    Fields: ClassVar[type[BaseModel]] = Config  # its JSON Schema types the fields for validator, builder and catalogue
    bare: ClassVar[Mapping[str, str]] = {}  # bare names it answers: {"country": "country", "email_opened": "opened"}
    contains: ClassVar[frozenset[str]] = frozenset()  # roots whose data lie in its own, as in `invoice.customer`

    def load(self, ids: Collection[int]) -> Mapping[int, Mapping[str, Any]]:
        """The records of these ids, in one query or a fixed few. A missing id is absent from the answer."""
        raise NotImplementedError

    def resolve(self, workspace_id: int, refs: Sequence[int | Mapping[str, str]]) -> Sequence[Mapping[str, int] | None]:
        """For each reference, in order, the subjects that the object brings along, itself included (an invoice:
        `{"invoice": 8, "subscription": 3, "customer": 7}`), or None when the workspace has no such object. A reference is
        an id or `{"externalId": "A-17"}`, for customers also `{"email": ...}`. A fixed number of queries, whatever the
        number of references (CONTRACTS 7)."""
        return [None] * len(refs)


class Query:
    """A set of records that schedules (`forEach`) and loops walk in pages, keyed by id, without a cap (STP-24)."""

    name: ClassVar[str]
    root: ClassVar[str]  # the root its items are loaded by

    def page(self, workspace_id: int, after: int, limit: int) -> Sequence[Mapping[str, int]]:
        """Up to `limit` records with id greater than `after`, ascending: their subjects (`{"invoice": 8, "customer": 7}`).
        The caller judges `where` on the loaded records."""
        raise NotImplementedError


class Channel:
    """An adapter to the outside used by actions: `kind` email, sms, ..."""

    kind: ClassVar[str]

    def send(self, envelope: Envelope, key: str, body: bytes) -> Outcome:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Charge:
    """What a gateway is asked to charge: minor units of `currency` on the method with `reference`."""

    amount: int
    currency: str
    reference: str
    invoice: int
    metadata: Mapping[str, str] = field(default_factory=dict)


class Gateway:
    """A payment provider. Every call carries a key that never changes; `find` reads back what became of one."""

    key: ClassVar[str]
    label: ClassVar[str]
    test: ClassVar[bool] = False  # plainly marked wherever it shows

    def charge(self, charge: Charge, key: str) -> Outcome:
        """`Done({"result": "paid"|"declined", "reference", "failureCode", "failureReason"})`, `Failed`, or `Unknown`."""
        raise NotImplementedError

    def find(self, key: str) -> Outcome | None:
        raise NotImplementedError
