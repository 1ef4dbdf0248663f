"""`manage.py doctor`: what it prints, how it ends, what it leaves alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from automations.doctor import checks
from automations.doctor.checks import Check, register
from automations.doctor.document import filled, table
from automations.doctor.run import all_checks, examine
from tests.doctor.breaches import plant
from tests.doctor.world import World

DOCUMENT = Path(__file__).parents[2] / "docs" / "invariants.md"
STUCK = ["DELETE FROM automations_delivery WHERE run_id = {delivery}"]


def doctor(*arguments: str) -> tuple[int, str]:
    """Exit code and output."""
    out = StringIO()
    try:
        call_command("doctor", *arguments, stdout=out)
    except SystemExit as ended:
        return int(ended.code or 0), out.getvalue()
    return 0, out.getvalue()


def test_health_ends_with_zero(world: World) -> None:  # CONTRACTS 2: exit 0 done
    assert doctor("--at-rest") == (0, "All rules hold.\n")
    code, text = doctor("--json")
    assert (code, json.loads(text)) == (0, {"ok": True, "findings": []})


def test_a_broken_rule_is_named_with_its_rows_and_ends_with_one(
    world: World,
) -> None:  # CONTRACTS 2: exit 1 problems found
    plant(world, STUCK)
    code, text = doctor("--only", "R1")
    assert code == 1
    lines = text.splitlines()
    assert lines[0].startswith("R1  A run that has not ended")
    assert lines[1:] == [f"    exec_{world.runs['delivery'].pk}", "1 rule is broken."]


def test_json_names_the_rule_and_its_rows(world: World) -> None:
    plant(world, STUCK)
    code, text = doctor("--json")
    found = json.loads(text)
    assert (code, found["ok"]) == (1, False)
    (finding,) = [item for item in found["findings"] if item["id"] == "R1"]
    assert finding["rows"] == [f"exec_{world.runs['delivery'].pk}"]
    assert finding["more"] is False


def test_rows_are_bounded_and_it_says_that_there_are_more(world: World) -> None:
    plant(world, ["UPDATE automations_run SET steps_executed = steps_executed + 1"])
    (finding,) = examine(only=["L2"], most=2)
    assert (len(finding.rows), finding.more) == (2, True)
    code, text = doctor("--only", "L2", "--most", "2")
    assert code == 1
    assert "    and more" in text


def test_one_workspace_is_looked_at_alone(world: World) -> None:
    plant(world, STUCK)
    assert doctor("--workspace", world.other.slug)[0] == 0
    assert doctor("--workspace", world.workspace.slug)[0] == 1


def test_rules_about_lag_are_asked_for(world: World) -> None:  # INVARIANTS, "at rest"
    plant(world, ["UPDATE automations_run SET due_at = onward_now() - interval '1 minute' WHERE id = {timer}"])
    assert doctor()[0] == 0
    assert doctor("--at-rest")[0] == 0  # within the allowance
    assert doctor("--at-rest", "--lag", "30")[0] == 1
    plant(world, ["UPDATE automations_run SET due_at = onward_now() - interval '1 hour' WHERE id = {timer}"])
    assert doctor()[0] == 0
    assert doctor("--only", "T1.rest")[0] == 1


@pytest.mark.parametrize("arguments", [("--only", "Z9"), ("--workspace", "nobody")])
def test_wrong_use_ends_with_two(world: World, arguments: tuple[str, ...]) -> None:  # CONTRACTS 2: exit 2 wrong use
    with pytest.raises(CommandError) as error:
        doctor(*arguments)
    assert error.value.returncode == 2
    assert arguments[1] in str(error.value)


def test_the_document_lists_every_rule() -> None:
    text = DOCUMENT.read_text()
    assert text == filled(text), "run `manage.py doctor --table` and put it into docs/invariants.md"
    assert all(f"| {check.id} | " in text for check in all_checks())


def test_the_table_can_be_printed_without_a_look() -> None:
    code, text = doctor("--table")
    assert (code, text) == (0, table() + "\n")


@pytest.fixture
def own_check() -> Iterator[list[Check]]:
    """Checks that exist during one test."""
    added: list[Check] = []
    yield added
    for check in added:
        del checks._registered[check.id]


@pytest.mark.django_db(transaction=True)
def test_all_rules_see_one_moment_and_can_change_nothing(own_check: list[Any]) -> None:
    sql = "SELECT NULL::bigint AS workspace_id, current_setting('{}') AS found"
    settings = {"Z1": "transaction_isolation", "Z2": "transaction_read_only"}
    own_check += [Check(id, id, sql.format(name)) for id, name in settings.items()]
    register(own_check)
    found = {finding.check.id: finding.rows for finding in examine(only=settings)}
    assert found == {"Z1": ["repeatable read"], "Z2": ["on"]}
    with connection.cursor() as cursor:
        cursor.execute("SHOW transaction_read_only")
        assert cursor.fetchone() == ("off",)


def test_an_id_stands_for_one_rule(own_check: list[Any]) -> None:
    own_check.append(Check("Z3", "one", "SELECT NULL::bigint AS workspace_id, '' AS found WHERE false"))
    register(own_check)
    register(own_check)
    with pytest.raises(ValueError, match="Z3"):
        register([Check("Z3", "another", own_check[0].sql)])
