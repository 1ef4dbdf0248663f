"""Customers under any sequence of acts, beside a plain model of what must be true (C-31, SUP-03, SUP-06, TRG-11, BIL-16)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from accounts.actor import system_actor
from accounts.announcements import Announcement, ignore, listen
from accounts.errors import Refusal
from accounts.models import Customer, CustomerTag, StageEntry
from accounts.services.consent import record_consent, suppressed
from accounts.services.customers import count_pageviews, create_customer, update_customer
from accounts.services.erasure import PLACEHOLDER, erase_customer
from accounts.services.lifecycle import identify_customer, merge_customers
from accounts.services.resolving import CustomerRef, resolve_customers
from accounts.services.stages import enter_stage
from accounts.services.tags import add_tag, remove_tag
from tests.factories import make_workspace

EMAILS = st.sampled_from([f"{name}@x.test" for name in ("a", "B", "c", "D")])
EXTERNAL = st.sampled_from(["1", "2", "3"])
TAGS = st.sampled_from(["vip", "late", "new"])
STAGES = st.sampled_from([("TRIAL", ""), ("CUSTOMER", "Retained"), ("CUSTOMER", "Churned"), ("AWARENESS", "")])


@dataclass
class Known:
    """What the model holds of one record."""

    email: str = ""
    external_id: str = ""
    identified: bool = False
    announced: bool = False
    views: int = 0
    tags: set[str] = field(default_factory=set)
    stage: tuple[str, str] | None = None
    entries: int = 0
    merged_into: int | None = None
    erased: bool = False

    @property
    def live(self) -> bool:
        return self.merged_into is None and not self.erased


class Customers(RuleBasedStateMachine):
    """Acts of people and programs; after each, rows and model agree."""

    records = Bundle("records")

    def __init__(self) -> None:
        super().__init__()
        self.workspace, self.other = make_workspace(), make_workspace()
        self.actor = system_actor(self.workspace.pk)
        self.model: dict[int, Known] = {}
        self.unsubscribed: set[str] = set()
        self.created: list[int] = []
        listen(self._hear)

    def teardown(self) -> None:
        ignore(self._hear)

    def _hear(self, told: list[Announcement]) -> None:
        self.created += [a.customer_id for a in told if a.kind == "customer.created" and a.customer_id is not None]

    def _owner(self, name: str, value: str) -> int | None:
        for number, known in self.model.items():
            if known.live and getattr(known, name).lower() == value.lower():
                return number
        return None

    def _refused(self, code: str, act: Any) -> None:
        with pytest.raises(Refusal) as refused:
            act()
        assert refused.value.code == code

    @rule(target=records, email=EMAILS)
    def create(self, email: str) -> Any:
        def act() -> Customer:
            return create_customer(actor=self.actor, fields={"email": email})

        if self._owner("email", email) is not None:
            self._refused("customer_conflict", act)
            return multiple()
        customer = act()
        self.model[customer.pk] = Known(email=email, identified=True, announced=True)
        return customer.pk

    @rule(target=records)
    def visit(self) -> int:
        visitor = create_customer(actor=self.actor, fields={}, anonymous=True)
        self.model[visitor.pk] = Known()
        return visitor.pk

    @rule(number=records, views=st.integers(1, 5))
    def look(self, number: int, views: int) -> None:
        count_pageviews(workspace_id=self.workspace.pk, views={number: views})
        if not self.model[number].erased:
            self.model[number].views += views

    @rule(number=records, external_id=EXTERNAL)
    def name_it(self, number: int, external_id: str) -> None:
        known = self.model[number]

        def act() -> Customer:
            return update_customer(actor=self.actor, customer_id=number, fields={"external_id": external_id})

        owner = self._owner("external_id", external_id)
        if not known.live:
            self._refused("wrong_state", act)
        elif owner not in (None, number):
            self._refused("customer_conflict", act)
        else:
            act()
            known.external_id, known.identified, known.announced = external_id, True, True

    @rule(number=records, email=EMAILS)
    def identify(self, number: int, email: str) -> None:
        known = self.model[number]

        def act() -> Customer:
            return identify_customer(actor=self.actor, customer_id=number, fields={"email": email})

        owner = self._owner("email", email)
        if not known.live:
            self._refused("wrong_state", act)
        elif owner in (None, number):
            act()
            known.email, known.identified, known.announced = email, True, True
        elif known.identified:
            self._refused("customer_conflict", act)
        else:
            assert owner is not None
            assert act().pk == owner
            self._merge(number, owner)
            self.model[owner].email = email

    @rule(source=records, into=records)
    def merge(self, source: int, into: int) -> None:
        def act() -> Customer:
            return merge_customers(actor=self.actor, source_id=source, into_id=into)

        if source == into:
            self._refused("invalid", act)
        elif not (self.model[source].live and self.model[into].live):
            self._refused("wrong_state", act)
        else:
            act()
            self._merge(source, into)

    def _merge(self, source: int, target: int) -> None:
        old, new = self.model[source], self.model[target]
        if old.email and new.email and {old.email.lower(), new.email.lower()} & self.unsubscribed:
            self.unsubscribed |= {old.email.lower(), new.email.lower()}
        new.email, new.external_id = new.email or old.email, new.external_id or old.external_id
        new.identified = new.identified or old.identified
        new.announced = new.announced or old.announced
        new.views, new.tags = new.views + old.views, new.tags | old.tags
        new.stage, new.entries = new.stage or old.stage, new.entries + old.entries
        old.merged_into, old.tags, old.entries = target, set(), 0

    @rule(number=consumes(records))
    def erase(self, number: int) -> None:
        known = self.model[number]

        def act() -> Customer:
            return erase_customer(actor=self.actor, customer_id=number)

        if known.merged_into is not None:
            self._refused("wrong_state", act)
            return
        assert act().name == PLACEHOLDER
        self._erase(number)

    def _erase(self, number: int) -> None:
        known = self.model[number]
        known.erased, known.email, known.external_id, known.tags, known.views = True, "", "", set(), 0
        for child, other in self.model.items():
            if other.merged_into == number and not other.erased:
                self._erase(child)

    @rule(number=records, tag=TAGS)
    def tag(self, number: int, tag: str) -> None:
        if not self.model[number].live:
            self._refused("wrong_state", lambda: add_tag(actor=self.actor, customer_id=number, tag=tag))
            return
        answer = add_tag(actor=self.actor, customer_id=number, tag=tag.upper())
        assert answer.added == (tag not in self.model[number].tags)
        self.model[number].tags.add(tag)

    @rule(number=records, tag=TAGS)
    def untag(self, number: int, tag: str) -> None:
        if self.model[number].live:
            had = tag in self.model[number].tags
            assert remove_tag(actor=self.actor, customer_id=number, tag=tag) == had
            self.model[number].tags.discard(tag)

    @rule(number=records, to=STAGES)
    def move(self, number: int, to: tuple[str, str]) -> None:
        known = self.model[number]

        def act() -> tuple[StageEntry, bool]:
            return enter_stage(actor=self.actor, customer_id=number, stage=to[0], bucket=to[1])

        if not known.live:
            self._refused("wrong_state", act)
            return
        assert act()[1] == (known.stage != to)
        known.entries += known.stage != to
        known.stage = to

    @rule(email=EMAILS, state=st.sampled_from(["subscribed", "unsubscribed"]))
    def consent(self, email: str, state: str) -> None:
        record_consent(actor=self.actor, address=email, state=state)
        if state == "unsubscribed":
            self.unsubscribed.add(email.lower())
        else:
            self.unsubscribed.discard(email.lower())

    @rule(number=records)
    def follow(self, number: int) -> None:
        end: int | None = number
        while end is not None and self.model[end].merged_into is not None:
            end = self.model[end].merged_into
        (answer,) = resolve_customers(workspace_id=self.workspace.pk, refs=[CustomerRef(id=number)])
        if isinstance(answer, Refusal):
            assert self.model[number].erased or (end is not None and self.model[end].erased)
        else:
            assert answer == end

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        rows = {row.pk: row for row in Customer.objects.filter(workspace=self.workspace)}
        assert rows.keys() == self.model.keys()
        for number, known in self.model.items():
            row = rows[number]
            assert (row.erased_at is not None) == known.erased
            assert row.merged_into_id == known.merged_into
            if known.live:
                assert (row.email.lower(), row.external_id) == (known.email.lower(), known.external_id)
                assert (row.identified_at is not None) == known.identified
                assert row.facts.get("pageviewCount", 0) == known.views

    @invariant()
    def an_address_belongs_to_one(self) -> None:
        live = [known for known in self.model.values() if known.live]
        for name in ("email", "external_id"):
            values = [getattr(known, name).lower() for known in live if getattr(known, name)]
            assert len(values) == len(set(values))

    @invariant()
    def everybody_identified_was_announced_once(self) -> None:
        assert len(self.created) == len(set(self.created))
        assert {n for n, known in self.model.items() if known.announced and known.live} <= self._announced_lines()

    def _announced_lines(self) -> set[int]:
        """Announced records, and those into which they were merged."""
        found = set(self.created)
        for number in self.created:
            end: int | None = number
            while end is not None:
                found.add(end)
                end = self.model[end].merged_into if end in self.model else None
        return found

    @invariant()
    def tags_and_stays_are_as_the_model_says(self) -> None:
        for number, known in self.model.items():
            tags = CustomerTag.objects.filter(customer=number).values_list("tag__slug", flat=True)
            assert set(tags) == known.tags
            stays = StageEntry.objects.filter(customer=number)
            assert stays.count() == known.entries
            assert stays.filter(left_at=None).count() <= 1

    @invariant()
    def the_unsubscribed_are_suppressed(self) -> None:
        # SUP-03, SUP-10: also after an erasure, until somebody subscribes again, and in this workspace only
        addresses = [f"{name}@x.test" for name in "abcd"]
        assert suppressed(self.workspace.pk, addresses) == self.unsubscribed
        assert suppressed(self.other.pk, addresses) == set()


@pytest.mark.django_db
def test_customers_follow_the_model_under_any_sequence_of_acts() -> None:
    rules = settings(
        max_examples=12,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Customers, settings=rules)
