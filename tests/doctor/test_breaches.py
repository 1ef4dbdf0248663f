"""Each rule of the doctor is seen to fail: a checker that never reported anything proves nothing (INVARIANTS)."""

from __future__ import annotations

import pytest

from automations.doctor.references import Reference, references
from automations.doctor.run import all_checks, examine
from tests.doctor.breaches import BREACHES, Plant, cross, dangle, plant
from tests.doctor.world import World

LOOSE = [reference for reference in references() if reference.id]
WALLS = [reference for reference in references() if reference.parent != "accounts_workspace"]
PLANTED = [
    pytest.param(id, planted, id=f"{id}-{number}")
    for id, plants in BREACHES.items()
    for number, planted in enumerate(plants, 1)
]


@pytest.mark.parametrize(("id", "planted"), PLANTED)
def test_a_planted_breach_is_found(world: World, id: str, planted: Plant) -> None:  # INVARIANTS
    assert examine(at_rest=True, only=[id]) == []
    plant(world, planted)
    assert [finding.check.id for finding in examine(at_rest=True, only=[id])] == [id]


@pytest.mark.parametrize("reference", LOOSE, ids=lambda reference: reference.id)
def test_a_reference_to_nothing_is_found(world: World, reference: Reference) -> None:  # DESIGN 6
    plant(world, dangle(reference))
    (finding,) = examine(only=[reference.id])
    assert any("999999999" in row for row in finding.rows), finding.rows


@pytest.mark.parametrize(
    "reference", WALLS, ids=lambda reference: f"{reference.child}.{reference.column}-{reference.parent}"
)
def test_a_hole_in_a_wall_is_found(world: World, reference: Reference) -> None:  # INVARIANTS X1
    plant(world, cross(reference))
    (finding,) = examine(only=["X1"], most=1000)
    assert any(f"-> {reference.parent} " in row for row in finding.rows), finding.rows


def test_every_rule_has_a_planted_breach() -> None:
    planted = {*BREACHES, "X1", *(reference.id for reference in LOOSE)}
    assert planted == {check.id for check in all_checks()}
