"""The environment: every variable checked, every problem named at once (CONTRACTS 2)."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st

from config.database import Database, connection_settings, parse_database_url, process_kind
from config.environment import CHECKOUT, Environment, read_environment, variable_names
from tests.config.conftest import manage

KEY = "k3y-0a1b2c" * 6
KEYS = {"ONWARD_SECRET_KEY": KEY, "ONWARD_QUEUE_KEY": KEY, "ONWARD_ENCRYPTION_KEYS": "one,two"}
URL = "postgres://ana:pa%20ss@db.example:5433/onward?sslmode=require"


def read(**variables: str) -> Environment:
    return read_environment(variables, keys_needed=True)


def problems(**variables: str) -> str:
    with pytest.raises(ImproperlyConfigured) as caught:
        read(**variables)
    return str(caught.value)


class TestProblems:
    def test_all_wrong_and_missing_variables_are_reported_at_once_by_name(self) -> None:
        text = problems(
            DATABASE_URL="mysql://x/y",
            PORT="eighty",
            ONWARD_DEBUG="maybe",
            ONWARD_LOG="loud",
            ONWARD_PASS_MINUTES="0",
            ONWARD_SMTP_URL="mail.example",
            ONWARD_EGRESS_ALLOW="10.0.0.0/99",
            ONWARD_RETENTION_DAYS="-1",
        )
        lines = text.splitlines()
        assert lines[0] == "The environment cannot be used:"
        assert {line.strip().partition(":")[0] for line in lines[1:]} == {
            "DATABASE_URL",
            "PORT",
            "ONWARD_DEBUG",
            "ONWARD_LOG",
            "ONWARD_PASS_MINUTES",
            "ONWARD_SMTP_URL",
            "ONWARD_EGRESS_ALLOW",
            "ONWARD_RETENTION_DAYS",
            "ONWARD_SECRET_KEY",
            "ONWARD_QUEUE_KEY",
            "ONWARD_ENCRYPTION_KEYS",
        }

    def test_an_unknown_variable_is_named_with_the_nearest_known_one(self) -> None:
        assert "ONWARD_WORKER: unknown. Did you mean ONWARD_WORKERS?" in problems(ONWARD_WORKER="2")

    def test_a_secret_is_never_shown(self) -> None:
        text = problems(DATABASE_URL="mysql://ana:hush@db/x", ONWARD_SECRET_KEY="short", ONWARD_SMTP_URL="hush")
        assert "hush" not in text
        assert "short'" not in text

    @pytest.mark.parametrize("value", ["", "   "])
    def test_an_empty_variable_counts_as_unset(self, value: str) -> None:
        assert read(PORT=value, ONWARD_DATA=value) == read()

    @pytest.mark.parametrize("folder", [CHECKOUT, CHECKOUT / "data"])
    def test_the_data_folder_never_lies_in_the_checkout(self, folder: Path) -> None:
        assert "must not lie in the checkout" in problems(ONWARD_DATA=str(folder))

    def test_a_guessable_key_is_refused(self) -> None:
        assert "50 random characters" in problems(ONWARD_SECRET_KEY="a" * 80)

    def test_a_command_says_so_in_one_text_without_a_traceback(self) -> None:
        done = manage("migrate", PORT="x", ONWARD_LOG="loud")
        assert done.returncode == 2
        assert "PORT" in done.stderr
        assert "ONWARD_LOG" in done.stderr
        assert "Traceback" not in done.stderr


class TestValues:
    def test_defaults(self) -> None:
        found = read()
        assert (found.port, found.onward_bind, found.onward_pass_minutes) == (8000, "127.0.0.1", 5)
        assert (found.onward_workers, found.onward_web_workers, found.onward_retention_days) == (2, 2, 400)
        assert (found.onward_wake, found.onward_ticker) == (True, True)
        assert (found.onward_debug, found.onward_allow_clock) == (False, False)
        assert found.database_url is None

    def test_keys_are_needed_beside_a_database_outside_debug_only(self) -> None:
        assert read(DATABASE_URL=URL, ONWARD_DEBUG="1").onward_debug
        assert read_environment({"DATABASE_URL": URL}, keys_needed=False).database_url
        assert read(DATABASE_URL=URL, **KEYS).onward_encryption_keys == ("one", "two")
        assert "ONWARD_QUEUE_KEY: missing" in problems(DATABASE_URL=URL)

    def test_lists_and_networks(self) -> None:
        found = read(ONWARD_ALLOWED_HOSTS="a.example, b.example,", ONWARD_EGRESS_ALLOW="10.0.0.0/8, fd00::/8")
        assert found.onward_allowed_hosts == ("a.example", "b.example")
        assert found.onward_egress_allow == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))

    @pytest.mark.parametrize("url", ["redis://cache:6379/0", "rediss://cache/1", "sqs://eu-central-1"])
    def test_a_broker_whose_package_is_missing_is_reported(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("config.environment.find_spec", lambda name: None)
        assert "ONWARD_BROKER_URL: needs the package" in problems(ONWARD_BROKER_URL=url)
        monkeypatch.setattr("config.environment.find_spec", lambda name: object())
        assert read(ONWARD_BROKER_URL=url).onward_broker_url == url

    def test_other_programs_variables_are_none_of_our_business(self) -> None:
        assert read(HOME="/root", PATH="/bin", PORTAL="x") == read()

    def test_every_variable_has_a_field(self) -> None:
        assert {"DATABASE_URL", "PORT", "ONWARD_DATA", "ONWARD_WAKE"} <= set(variable_names())


class TestDatabaseUrl:
    def test_all_parts(self) -> None:
        found = parse_database_url(URL)
        assert found == Database("onward", "ana", "pa ss", "db.example", "5433", {"sslmode": "require"})

    @pytest.mark.parametrize(
        ("text", "host"),
        [
            ("postgres://%2Fvar%2Frun%2FPg/onward", "/var/run/Pg"),  # a socket folder keeps its capitals
            ("postgresql:///onward?host=/var/run/Pg", "/var/run/Pg"),
            ("postgres://u@[2001:db8::1]:5432/onward", "2001:db8::1"),
            ("postgres:///onward", ""),
        ],
    )
    def test_hosts(self, text: str, host: str) -> None:
        assert parse_database_url(text).host == host

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("sqlite:///x", "must begin with postgres://"),
            ("onward", "must begin with postgres://"),
            ("postgres://host", "name of one database"),
            ("postgres://host/a/b", "name of one database"),
            ("postgres://host:99999/a", "port must be a number"),
            ("postgres://host:x/a", "port must be a number"),
        ],
    )
    def test_what_cannot_be_read_is_refused(self, text: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            parse_database_url(text)

    @given(
        name=st.text(st.characters(codec="ascii", categories=["L", "N", "P"], exclude_characters="/"), min_size=1),
        user=st.text(st.characters(codec="ascii", categories=["L", "N", "P"])),
        password=st.text(),
        host=st.sampled_from(["", "db.example", "127.0.0.1", "/tmp/Socket folder"]),
        port=st.sampled_from(["", "5432"]),
    )
    def test_writing_and_reading_is_the_identity(
        self, name: str, user: str, password: str, host: str, port: str
    ) -> None:
        if not user:
            password = ""
        before = Database(name, user, password, host, port, {"sslmode": "disable"})
        if "\x00" not in password:
            assert parse_database_url(before.as_url()) == before


class TestConnections:
    @pytest.mark.parametrize(
        ("argv", "kind"),
        [
            (["manage.py", "work"], "worker"),
            (["/srv/onward/manage.py", "qcluster"], "worker"),
            (["manage.py", "migrate"], "command"),
            (["manage.py", "runserver"], "web"),
            (["/srv/.venv/bin/gunicorn", "config.wsgi"], "web"),
            (["/srv/.venv/lib/python3.12/site-packages/gunicorn/__main__.py"], "web"),
            (["/srv/gunicorn/app/manage.py", "migrate"], "command"),
            (["manage.py"], "command"),
            ([], "command"),
        ],
    )
    def test_the_kind_of_process_is_told_by_its_command_line(self, argv: list[str], kind: str) -> None:
        assert process_kind(argv) == kind

    def test_a_worker_never_waits_for_ever(self) -> None:
        options = connection_settings(Database("x"), "worker")["OPTIONS"]
        assert options["application_name"] == "onward-worker"
        for limit in ("statement_timeout=15000", "lock_timeout=5000", "idle_in_transaction_session_timeout=30000"):
            assert f"-c {limit}" in options["options"]

    def test_a_migration_may_take_its_time(self) -> None:
        assert "statement_timeout" not in connection_settings(Database("x"), "command")["OPTIONS"]["options"]

    @pytest.mark.parametrize("kind", ["web", "worker", "command"])
    def test_each_side_notes_within_a_minute_that_the_other_was_cut_off(self, kind: str) -> None:  # RELIABILITY 6
        options = connection_settings(Database("x"), kind)["OPTIONS"]
        assert options["connect_timeout"] <= 15
        assert options["keepalives_idle"] + options["keepalives_interval"] * options["keepalives_count"] <= 60
        assert options["tcp_user_timeout"] <= 60_000
        for name in ("keepalives_idle", "keepalives_interval", "keepalives_count"):
            assert f"-c tcp_{name}={options[name]}" in options["options"]
        assert f"-c tcp_user_timeout={options['tcp_user_timeout']}" in options["options"]

    def test_an_operator_may_ask_less_often(self) -> None:
        database = Database("x", options={"keepalives_idle": "600", "options": "-c tcp_keepalives_idle=600"})
        options = connection_settings(database, "worker")["OPTIONS"]
        assert options["keepalives_idle"] == "600"
        said = options["options"]
        assert said.index("tcp_keepalives_idle=15") < said.index("tcp_keepalives_idle=600")  # the later one counts

    @pytest.mark.parametrize(
        ("said", "found"), [("", 5), ("?prepare_threshold=none", None), ("?prepare_threshold=0", 0)]
    )
    def test_a_pooler_that_knows_no_prepared_statements_is_given_none(self, said: str, found: int | None) -> None:
        database = parse_database_url(f"postgres://u@h/x{said}")
        assert connection_settings(database, "web")["OPTIONS"]["prepare_threshold"] == found
        again = parse_database_url(database.as_url())
        assert connection_settings(again, "web")["OPTIONS"]["prepare_threshold"] == found

    @pytest.mark.parametrize("said", ["never", "-1", "5.0"])
    def test_another_threshold_is_refused_at_once(self, said: str) -> None:
        with pytest.raises(ValueError, match="prepare_threshold must be a number, or none"):
            parse_database_url(f"postgres://u@h/x?prepare_threshold={said}")

    def test_connections_last_and_are_checked_and_never_pooled(self) -> None:
        found = connection_settings(Database("x", options={"sslmode": "require"}), "web")
        assert (found["CONN_MAX_AGE"], found["CONN_HEALTH_CHECKS"]) == (600, True)
        assert found["OPTIONS"]["sslmode"] == "require"
        assert "pool" not in found["OPTIONS"]
