"""A delivery's key is a function of its run, visit and effect, and the database holds it to that (INVARIANTS O2)."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection, transaction

from automations.worker.store import delivery_key
from tests.worker.deliveries import World

pytestmark = pytest.mark.django_db


def test_a_key_that_names_another_run_visit_or_effect_is_refused_by_the_database() -> None:
    mail = World().mail()
    for wrong in (
        delivery_key(mail.run_id + 1, 1, 0),
        delivery_key(mail.run_id, 2, 0),
        delivery_key(mail.run_id, 1, 1),
        "x",
    ):
        with pytest.raises(IntegrityError, match="delivery_key_names_it"), transaction.atomic():
            type(mail).objects.filter(pk=mail.pk).update(key=wrong)


def test_two_deliveries_of_one_effect_cannot_be_written_down() -> None:
    shop = World()
    mail = shop.mail()
    with pytest.raises(IntegrityError, match="delivery_once"), transaction.atomic():
        shop.mail(run=mail.run)


def test_no_index_is_kept_for_the_key_alone() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'automations_delivery'")
        assert not [text for (text,) in cursor.fetchall() if "(key" in text]
