"""The database goes away while acts are under way: what they came to is written when it is back (RELIABILITY 4)."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError

from automations.models import DeliveryAttempt
from automations.worker import deliver, settle
from automations.worker.deliver import deliver_batch
from tests.worker.deliveries import World
from tests.worker.provider import Provider, SettlingProvider, charge, provider, settling

__all__ = ["provider", "settling"]
pytestmark = pytest.mark.django_db(transaction=True)
RESTART = 7  # tries that meet no server


@pytest.fixture(autouse=True)
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between tries, which take no time here."""
    found: list[float] = []
    monkeypatch.setattr("automations.worker.retrying.time.sleep", found.append)
    return found


def away(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """That settling function meets no server at first."""
    real, left = getattr(settle, name), iter(range(RESTART))

    def settling_later(*given: Any) -> int:
        if next(left, None) is not None:
            raise OperationalError("the connection is closed")
        return int(real(*given))

    monkeypatch.setattr(settle, name, settling_later)


def outcomes(delivery: Any) -> tuple[str, list[str]]:
    delivery.refresh_from_db()
    tries = DeliveryAttempt.objects.filter(delivery=delivery).order_by("number")
    return delivery.state, [row.outcome for row in tries]


def test_a_restart_of_the_server_is_waited_out_by_a_settlement(
    provider: Provider, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = World().delivery(charge(), provider.key)
    away(monkeypatch, "_transaction")
    assert deliver_batch(threads=1) == 1
    assert outcomes(delivery) == ("SENT", ["ok"])
    assert len(naps) == RESTART
    assert 2 < sum(naps) < 60  # within the lease


def test_so_it_is_where_the_act_has_consequences(
    settling: SettlingProvider, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = World().delivery(charge(), settling.key)
    away(monkeypatch, "_with_consequences")
    assert deliver_batch(threads=1) == 1
    assert outcomes(delivery) == ("SENT", ["ok"])
    assert len(naps) == RESTART


def test_a_claim_that_breaks_off_loses_no_act_under_way(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = World().delivery(charge(), provider.key)
    real, calls = deliver.take, iter(range(1))

    def once(*given: Any) -> Any:
        if next(calls, None) is None:
            raise OperationalError("the connection is closed")
        return real(*given)

    monkeypatch.setattr(deliver, "take", once)
    with pytest.raises(OperationalError):
        deliver_batch(threads=4)
    assert outcomes(delivery) == ("SENT", ["ok"])
