"""Every operation of the REST interface with what its document allows, what it does not, broken bodies and foreign ids, one by one and
in chains (RELIABILITY 40, 46, 58). The long form is `python -m tests.fuzz.long rest`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from hypothesis import given, seed

from accounts.api import customers, tasks
from accounts.errors import Refusal
from accounts.models import Customer, Task
from automations.models import Automation
from automations.services import find
from tests.fuzz.rest import Attempt, Tried, World, attack, attempts, build, labels, operations
from tests.fuzz.seeded import SEED, number, rules
from tests.fuzz.stateful import FAMILIES, walk

REQUESTS = number("REQUESTS", 5)
CHAINS = number("CHAINS", 4)
STEPS = 10
FOCUSED, CHAINED = Tried(), Tried()
pytestmark = pytest.mark.django_db  # inside of the transaction in which the world stands


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any) -> Iterator[World]:
    with django_db_blocker.unblock(), transaction.atomic():
        yield build()
        transaction.set_rollback(True)
    print(f"\nstart value {SEED}; {len(operations())} operations; {FOCUSED}; {CHAINED}")


def focus(world: World, label: str, start: int, requests: int = REQUESTS) -> None:
    """That many attempts at one operation, each in a savepoint that is rolled back."""

    @seed(start)
    @rules(requests)
    @given(attempt=attempts(operations()[label]))
    def run(attempt: Attempt) -> None:
        with transaction.atomic():
            attack(world, attempt, FOCUSED)
            transaction.set_rollback(True)

    run()


@pytest.mark.parametrize("label", labels())
def test_no_request_breaks_it(world: World, label: str) -> None:
    print(f"start value {SEED}")
    focus(world, label, SEED)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_no_chain_of_requests_breaks_it(world: World, family: str) -> None:
    print(f"start value {SEED}")
    walk(world, CHAINED, family, SEED, CHAINS, STEPS)


class TestPlanted:
    """A fault is put into the product, and each form finds it, whatever the start value."""

    def found(self, world: World, label: str, match: str) -> None:
        for start in (1, 2):
            with pytest.raises(AssertionError, match=match):
                focus(world, label, start, 150)

    def test_a_view_that_raises_at_one_value(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = tasks.create_task

        def failing(*, actor: Any, request: Any) -> Task:
            if len(request.message) < 9:
                raise ZeroDivisionError
            return plain(actor=actor, request=request)

        monkeypatch.setattr(tasks, "create_task", failing)
        self.found(world, "POST /api/v1/tasks", "server_error")

    def test_an_answer_that_is_not_in_the_document(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = tasks.list_response

        def odd(*arguments: Any) -> Any:
            answer = plain(*arguments)
            answer.status_code = 226
            return answer

        monkeypatch.setattr(tasks, "list_response", odd)
        self.found(world, "GET /api/v1/tasks", "226")

    def test_an_error_of_another_shape(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Refusal, "as_dict", lambda self: {"error": self.code})
        self.found(world, "POST /api/v1/customers", "error")

    def test_a_refusal_that_wrote_something(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = tasks.create_task

        def halfway(*, actor: Any, request: Any) -> Task:
            task = plain(actor=actor, request=request)
            if request.due_at is not None:
                raise Refusal("invalid", "No.")
            return task

        monkeypatch.setattr(tasks, "create_task", halfway)
        self.found(world, "POST /api/v1/tasks", "was refused and wrote")

    def test_a_hole_in_the_wall(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(find, "automations_of", lambda actor: Automation.objects.all())
        self.found(world, "GET /api/v1/automations/{automation}", "reached another workspace")

    def test_a_fault_that_only_a_chain_reaches(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """A view fails for a customer that was erased before: one request alone never meets it, a chain does."""
        plain = customers.find

        def failing(request: Any, name: str) -> Customer:
            row = plain(request, name)
            if row.erased_at is not None:
                raise ZeroDivisionError
            return row

        monkeypatch.setattr(customers, "find", failing)
        focus(world, "GET /api/v1/customers/{customer}", 1, 20)
        with pytest.raises(AssertionError, match="server_error"):
            walk(world, CHAINED, "customers", SEED, 150, STEPS)
