"""Keys, roles and members under any sequence of acts: a request passes exactly when the model says so (CONTRACTS 8, INVARIANTS P8)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from accounts.actor import Actor
from accounts.clock import real_now
from accounts.errors import Refusal
from accounts.models import ApiKey, Membership
from accounts.permissions import ROLES, SCOPES
from accounts.services.keys import create_api_key, revoke_api_key
from accounts.services.workspaces import change_role, member_actor, remove_member
from tests.factories import ApiClient, actor_of, make_member, make_workspace, owner_of, unique

ROLE = st.sampled_from(list(ROLES))
SOME_SCOPES = st.sets(st.sampled_from(SCOPES), min_size=1).map(sorted)
# one harmless request for each scope that accounts itself asks for
PROBES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "read": ("get", "/limits", {}),
    "customers": ("post", "/customers", {}),
    "operate": ("post", "/tasks", {}),
    "edit": ("post", "/funnels", {}),
    "admin": ("patch", "/workspace", {}),
}


@dataclass
class Key:
    """What the model holds of a key."""

    text: str
    maker: int
    scopes: set[str]
    revoked: bool = False
    expired: bool = False

    @property
    def refusal(self) -> str:
        """The code that every request with it gets, "" for none."""
        return "key_revoked" if self.revoked else "key_expired" if self.expired else ""


class Keys(RuleBasedStateMachine):
    """Owners hire, promote, demote and dismiss people; people and keys make keys; keys are used."""

    people = Bundle("people")
    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.workspace = make_workspace()
        self.owner = owner_of(self.workspace)
        self.roles: dict[int, str] = {}
        self.model: dict[int, Key] = {}

    @rule(target=people, role=ROLE)
    def hire(self, role: str) -> int:
        person = make_member(self.workspace, role)
        self.roles[person.pk] = role
        return person.pk

    @rule(person=people, role=ROLE)
    def promote(self, person: int, role: str) -> None:
        owner = actor_of(self.workspace)
        if person not in self.roles:
            with pytest.raises(Refusal):
                change_role(actor=owner, user_id=person, role=role)
            return
        change_role(actor=owner, user_id=person, role=role)
        self.roles[person] = role
        self._narrow(person, set(ROLES[role]))

    @rule(person=people)
    def dismiss(self, person: int) -> None:
        if self.roles.pop(person, None) is not None:
            remove_member(actor=actor_of(self.workspace), user_id=person)
            self._narrow(person, set())

    def _narrow(self, person: int, allowed: set[str]) -> None:
        for key in self.model.values():
            if key.maker == person and not key.revoked:
                kept = key.scopes & allowed
                key.revoked = not kept
                key.scopes = kept or key.scopes

    @rule(target=keys, person=people, scopes=SOME_SCOPES)
    def make(self, person: int, scopes: list[str]) -> Any:
        membership = Membership.objects.select_related("user").filter(workspace=self.workspace, user=person).first()
        actor = member_actor(membership.user, self.workspace) if membership else None
        if actor is None:
            assert person not in self.roles
            return multiple()
        return self._make(actor, person, scopes, ROLES[self.roles[person]])

    @rule(target=keys, number=keys, scopes=SOME_SCOPES)
    def make_with_a_key(self, number: int, scopes: list[str]) -> Any:
        key = self.model[number]
        if key.refusal:
            return multiple()
        actor = Actor(self.workspace.pk, frozenset(key.scopes), key_id=number, label="key")
        return self._make(actor, key.maker, scopes, frozenset(key.scopes))

    def _make(self, actor: Actor, maker: int, scopes: list[str], own: frozenset[str]) -> Any:
        if "admin" not in own or not set(scopes) <= own:  # never more than its maker has
            with pytest.raises(Refusal) as refused:
                create_api_key(actor=actor, name=unique("key"), scopes=scopes)
            assert refused.value.status == 403
            return multiple()
        key, text = create_api_key(actor=actor, name=unique("key"), scopes=scopes)
        self.model[key.pk] = Key(text, maker, set(scopes))
        return key.pk

    @rule(number=keys)
    def revoke(self, number: int) -> None:
        revoke_api_key(actor=actor_of(self.workspace), key_id=number)
        self.model[number].revoked = True

    @rule(number=keys)
    def expire(self, number: int) -> None:
        ApiKey.objects.filter(pk=number).update(expires_at=real_now() - timedelta(seconds=1))
        self.model[number].expired = True

    @rule(number=keys, scope=st.sampled_from(list(PROBES)))
    def use(self, number: int, scope: str) -> None:
        key = self.model[number]
        method, path, body = PROBES[scope]
        answer = getattr(ApiClient(key.text), method)(path, body)
        if key.refusal:
            assert (answer.status_code, answer.json()["code"]) == (401, key.refusal)
        elif scope in key.scopes:
            assert answer.status_code in (200, 422), answer.content
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        rows = {row.pk: row for row in ApiKey.objects.filter(workspace=self.workspace)}
        assert rows.keys() == self.model.keys()
        for number, key in self.model.items():
            assert (rows[number].revoked_at is not None) == key.revoked
            assert set(rows[number].scopes) == key.scopes

    @invariant()
    def no_living_key_has_more_than_its_maker(self) -> None:
        # CONTRACTS 8
        for key in self.model.values():
            if not key.revoked:
                assert key.scopes <= ROLES[self.roles[key.maker]]

    @invariant()
    def there_is_an_owner(self) -> None:
        assert Membership.objects.filter(workspace=self.workspace, role="owner", user=self.owner).exists()


@pytest.mark.django_db
def test_a_request_passes_exactly_when_the_model_says_so() -> None:
    rules = settings(max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Keys, settings=rules)
