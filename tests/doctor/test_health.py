"""Every rule holds where everything has happened once."""

from __future__ import annotations

from automations.doctor.run import examine
from tests.doctor.world import World


def test_the_doctor_finds_nothing_in_a_healthy_installation(world: World) -> None:  # INVARIANTS
    findings = {finding.check.id: finding.rows for finding in examine(at_rest=True)}
    assert findings == {}
