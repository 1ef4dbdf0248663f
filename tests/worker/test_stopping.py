"""A worker that was told to stop takes nothing new (DESIGN 5.4; RELIABILITY 10)."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from django.conf import LazySettings

from automations.worker.loop import Loop

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A worker that counts its turns and has nothing to do in any of them."""
    loop = Loop(deliver=False)
    seen = SimpleNamespace(loop=loop, turns=0, last=10)

    def turn(chores: object) -> int:
        seen.turns += 1
        if seen.turns == seen.last:
            loop.stop()
        return 0

    monkeypatch.setattr(loop, "_all", turn)
    yield seen
    loop.stop()


@pytest.mark.parametrize("ticker", [True, False])
def test_no_turn_follows_the_one_in_which_it_was_told(
    worker: SimpleNamespace, settings: LazySettings, ticker: bool
) -> None:
    settings.ONWARD_TICKER = ticker
    worker.last = 1
    worker.loop.run()
    assert worker.turns == 1


def test_no_turn_follows_while_it_listens(worker: SimpleNamespace) -> None:
    class Told:
        """Between two looks at the bell somebody ends the worker, and nobody rings."""

        def heard(self, seconds: float) -> bool:
            worker.loop.stop()
            return False

    worker.loop._listen(Told())
    assert worker.turns == 0
