"""Names of events: the catalogue's groups and events of one's own (CONTRACTS 7)."""

from __future__ import annotations

import pytest

from automations.engine.event_names import NAME, catalogue_names, group_of, is_known
from automations.engine.kinds import End
from automations.engine.registry import Registry
from tests.engine.kinds_for_tests import REGISTRY, PaymentFailed


@pytest.mark.parametrize("name", ["payment.failed", "invoice.paid", "stage_enter", "email_opened"])
def test_names_of_triggers_are_in_the_catalogue(name: str) -> None:
    assert name in catalogue_names(REGISTRY)


@pytest.mark.parametrize("name", ["custom", "manual", "schedule"])
def test_entries_that_stand_for_no_event_are_not(name: str) -> None:
    assert name not in catalogue_names(REGISTRY)


def test_what_a_trigger_listens_to_and_ends_on_is() -> None:
    class Own(PaymentFailed):
        key = "billing.subscription_payment_failed"
        listens = ("payment.failed",)
        ends = (End("invoice.marked_uncollectible", "x"), End("", "y"))

    registry = Registry()
    registry.add(Own())
    assert catalogue_names(registry) == {
        "billing.subscription_payment_failed",
        "payment.failed",
        "invoice.marked_uncollectible",
    }


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("payment.faild", "payment"),
        ("invoice.x.y", "invoice"),
        ("payment", None),
        ("shop.order", None),
        ("demo_booked", None),
    ],
)
def test_the_group_that_claims_a_name(name: str, group: str | None) -> None:
    assert group_of(name, catalogue_names(REGISTRY)) == group


@pytest.mark.parametrize(
    ("name", "known"), [("payment.failed", True), ("payment.faild", False), ("shop.order", True), ("demo_booked", True)]
)
def test_a_name_within_a_group_must_be_known(name: str, known: bool) -> None:
    assert is_known(name, REGISTRY) is known


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("a", True),
        ("a" * 100, True),
        ("a" * 101, False),
        ("A", False),
        ("9a", False),
        ("a b", False),
        ("a.b_9", True),
        ("", False),
    ],
)
def test_the_form_of_a_name(name: str, fits: bool) -> None:
    assert (NAME.fullmatch(name) is not None) is fits
