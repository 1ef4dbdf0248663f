"""A command on a database that was not migrated: one sentence and exit code 2, never a traceback (CONTRACTS 2)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from django.conf import settings
from django.db import ProgrammingError
from psycopg import errors

from config.database import parse_database_url
from config.unmigrated import _sentence, one_sentence
from tests.config.conftest import manage


@pytest.mark.parametrize(
    "command",
    [("doctor",), ("automations", "validate", "docs/samples/quick-start.yaml"), ("work", "--until-idle")],
    ids=lambda command: command[0],
)
def test_a_database_without_tables_is_one_sentence(
    command: tuple[str, ...], database_url: str, tmp_path: Path
) -> None:  # CONTRACTS 2: exit codes
    bare = replace(parse_database_url(database_url), name="postgres").as_url()  # nobody migrates this one
    done = manage(*command, DATABASE_URL=bare, ONWARD_DEBUG="1", ONWARD_DATA=str(tmp_path / "data"))
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("The database that DATABASE_URL names lacks tables of this release")
    assert done.stderr.count("\n") == 1


def test_a_table_that_no_release_has_is_still_a_traceback(database_url: str, tmp_path: Path) -> None:
    fall = "from django.db import connection; connection.cursor().execute('SELECT * FROM no_such_table')"
    done = manage(
        *("shell", "--no-imports", "-c", fall),
        DATABASE_URL=database_url,
        ONWARD_DEBUG="1",
        ONWARD_DATA=str(tmp_path / "data"),
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "no_such_table" in done.stderr


@pytest.mark.parametrize("command", ["migrate", "up"])
def test_what_goes_wrong_in_a_migration_is_not_covered_up(command: str) -> None:
    with pytest.raises(ProgrammingError), one_sentence(["manage.py", command]):
        raise ProgrammingError from errors.UndefinedTable("x")


def test_the_sentence_names_the_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert f"The database in {settings.ONWARD_DATA} lacks tables" in _sentence()
