"""Chains of requests: what one answer gave is asked of the next, along the links that schemathesis infers from the document.

Each chain has the world to itself (a savepoint). A worker then does what is due, and the doctor looks at what is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import requests
from django.db import transaction
from hypothesis.errors import Flaky
from schemathesis.core.transport import Response

from automations.doctor.run import examine
from automations.worker.loop import drain
from tests.fuzz.rest import Tried, World, address, document, judge, send
from tests.fuzz.seeded import run_machine

_URL = "http://onward.test"


#: What belongs together: in a chain over the whole document two requests about one thing hardly ever meet.
FAMILIES = {
    "customers": "/customers",
    "automations": "/(automations|executions|events|priorities)",
    "billing": "/(invoices|payments|subscriptions|products|prices)",
    "mail": "/(senders|email-templates|deliveries)",
    "workspace": "/(funnels|stages|tasks|api-keys|workspace|limits|audit)",
}


def machine(world: World, tried: Tried, family: str) -> type[Any]:
    """A state machine over the operations of one family, in one world."""
    base: Any = document().include(path_regex=FAMILIES[family]).as_state_machine()

    class Chain(base):
        """One chain."""

        found: ClassVar[list[AssertionError]] = []

        def setup(self) -> None:
            """The world as it was built."""
            self._own = transaction.atomic()
            self._own.__enter__()

        def call(self, case: Any, **kwargs: Any) -> Response:
            """Over the test client, without a socket."""
            path = address(case, world.names, keep_ids=True) or "/api/v1/nowhere"
            answer = send(world.client, case, path, case.body)
            tried.note(answer.status_code, 0.0)
            if path != "/api/v1/nowhere":
                with _kept(self.found):
                    judge(case, answer, case.body)
            return _converted(answer, case.method, path)

        def validate_response(self, response: Response, case: Any, *args: Any, **kwargs: Any) -> None:
            """Judged already."""

        def teardown(self) -> None:
            """Nothing that was accepted may leave a broken rule behind."""
            try:
                drain(deliver=False)
                found = examine(workspace_id=world.workspace.pk)
                with _kept(self.found):
                    assert found == [], [(finding.check.id, finding.rows) for finding in found]
            finally:
                transaction.set_rollback(True)
                self._own.__exit__(None, None, None)

    return Chain


@contextmanager
def _kept(found: list[AssertionError]) -> Iterator[None]:
    try:
        yield
    except AssertionError as error:
        found.append(error)
        raise


def _converted(answer: Any, method: str, path: str) -> Response:
    """Django's answer as the machine reads it, to follow its links."""
    request = requests.Request(method.upper(), _URL + path).prepare()
    headers = {name.lower(): [value] for name, value in answer.headers.items()}
    return Response(answer.status_code, headers, answer.content, request, 0.0, verify=False)


def walk(world: World, tried: Tried, family: str, start: int, chains: int, steps: int) -> None:
    """So many chains of at most so many requests, from a start value. AssertionError for the first fault. A chain that found one is
    walked again by the library, and the numbers that the database gives are other ones then: that it differs says nothing."""
    kind = machine(world, tried, family)
    try:
        run_machine(kind, start, chains, steps)
    except Flaky as odd:
        raise (kind.found[0] if kind.found else odd) from odd
