"""Workers that are started together after a pause take each other's beginning for no restored backup (RELIABILITY 2, 36)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from accounts import provenance
from accounts.models import Provenance

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def paused(settings: Any, tmp_path: Path) -> Iterator[None]:
    """Row and file agree, and say that nobody has worked for an hour."""
    settings.ONWARD_DATA = tmp_path
    Provenance.objects.all().delete()
    assert provenance.why_held() == ""
    before = provenance._now() - timedelta(hours=1)
    Provenance.objects.update(seen_at=before)
    provenance._write(before)
    yield
    Provenance.objects.all().delete()
    provenance.look_again()


def test_another_worker_that_moves_on_between_two_looks_is_no_sign_of_a_backup(monkeypatch: pytest.MonkeyPatch) -> None:
    read = provenance._row

    def then_another_moves_on(*arguments: Any) -> Provenance:
        row = read(*arguments)
        now = provenance._now()
        Provenance.objects.update(seen_at=now)
        provenance._write(now)
        return row

    monkeypatch.setattr(provenance, "_row", then_another_moves_on)
    assert provenance.why_held() == ""
    assert Provenance.objects.get().held_at is None


def test_data_that_are_older_than_what_this_machine_saw_are_still_held() -> None:
    Provenance.objects.update(seen_at=provenance._now() - timedelta(hours=2))
    assert provenance.why_held()
