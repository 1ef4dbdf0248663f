"""Before Django starts: what each command gets, and what `up` decides for its children."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from pytest_django.fixtures import Settings

from accounts.models import Workspace
from config import up
from config.database import connection_settings, parse_database_url
from config.environment import CHECKOUT, read_environment
from config.folder import is_locked
from config.postgres import TEST_SETTINGS
from config.start import data_folder, embedded_cluster, under_tests
from config.supervise import die_with_parent
from tests.config.conftest import manage, plain_environment


def has_ipv6() -> bool:
    """Whether this machine has an IPv6 loopback; containers often have none."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


class TestWhereDataLies:
    def test_tests_never_touch_the_users_data(self) -> None:
        assert under_tests()
        found = data_folder(read_environment({}, keys_needed=False))
        assert found.name.startswith("onward-test-")

    def test_a_folder_that_is_named_wins(self, tmp_path: Path) -> None:
        assert data_folder(read_environment({"ONWARD_DATA": str(tmp_path)}, keys_needed=False)) == tmp_path
        assert data_folder(read_environment({"ONWARD_TEST_DATA": str(tmp_path)}, keys_needed=False)) == tmp_path

    def test_a_relative_folder_is_where_it_was_typed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert data_folder(read_environment({"ONWARD_DATA": "data"}, keys_needed=False)) == tmp_path / "data"

    def test_a_real_server_needs_no_embedded_one(self) -> None:
        assert embedded_cluster(read_environment({"DATABASE_URL": "postgres:///x"}, keys_needed=False)) is None

    def test_the_tests_cluster_trades_safety_for_speed_and_no_other_does(self, monkeypatch: pytest.MonkeyPatch) -> None:
        environment = read_environment({}, keys_needed=False)
        found = embedded_cluster(environment)
        assert found
        assert found.settings == TEST_SETTINGS
        monkeypatch.delenv("PYTEST_VERSION")
        found = embedded_cluster(environment)
        assert found
        assert found.settings == ()


class TestCommands:
    def test_a_first_command_starts_the_server_and_stops_it(self, new_folder: Callable[[], Path]) -> None:
        folder = new_folder()
        done = manage("shell", "--no-imports", "-c", "print(2 * 21)", ONWARD_DATA=str(folder))
        assert done.stdout.strip() == "42", done.stderr
        assert stat.S_IMODE((folder / "keys.json").stat().st_mode) == 0o600
        assert not (folder / "postgres" / "data" / "postmaster.pid").exists()

    def test_a_folder_that_cannot_be_used_is_one_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        done = manage("migrate", ONWARD_DATA=str(tmp_path / "file" / "data"))
        assert done.returncode == 2
        assert "cannot be made" in done.stderr
        assert "Traceback" not in done.stderr

    def test_help_needs_nothing(self, tmp_path: Path) -> None:
        done = manage("help", ONWARD_DATA=str(tmp_path / "data"))
        assert done.returncode == 0
        for command in ("up", "mailbox", "qcluster", "work"):
            assert f"    {command}\n" in done.stdout
        assert not (tmp_path / "data").exists()

    def test_a_child_process_of_a_test_works_on_the_tests_database(self, database_url: str) -> None:
        Workspace.objects.create(slug="seen-by-a-child", name="x", plan="PRO", currency="EUR", time_zone="UTC")
        show = "from accounts.models import Workspace; print(Workspace.objects.get().slug)"
        done = subprocess.run(
            [sys.executable, str(CHECKOUT / "manage.py"), "shell", "--no-imports", "-c", show],
            env={**os.environ, "DATABASE_URL": database_url},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.strip() == "seen-by-a-child", done.stderr

    def test_limits_reach_the_session(self, database_url: str) -> None:
        place = parse_database_url(database_url)
        for kind, shown in (
            ("worker", ["15s", "5s", "30s"]),
            ("web", ["15s", "5s", "30s"]),
            ("command", ["0", "0", "0"]),
        ):
            options = connection_settings(place, kind)["OPTIONS"]
            with psycopg.connect(
                host=place.host, port=place.port or None, user=place.user, dbname=place.name, **options
            ) as connection:
                names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
                found = [connection.execute(f"SHOW {name}").fetchone() for name in names]
            assert [row[0] for row in found if row] == shown, kind

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
    def test_a_forked_process_dies_with_the_one_that_forked_it(self) -> None:
        script = (
            "import os, signal, sys, time\nfrom config.supervise import die_with_parent\n"
            "os.register_at_fork(after_in_child=die_with_parent)\n"
            "child = os.fork()\n"
            "if child == 0:\n    print('ready', flush=True)\n    time.sleep(600)\n"
            "sys.stdin.read()\nos.kill(os.getpid(), signal.SIGKILL)\n"
        )
        outer = subprocess.Popen(
            [sys.executable, "-c", script], cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert outer.stdout
        assert outer.stdout.readline() == b"ready\n"
        outer.communicate()  # its end of the pipe closes only when the grandchild is gone too
        assert outer.returncode == -signal.SIGKILL

    def test_asking_for_it_twice_is_harmless(self) -> None:
        code = os.fork()
        if code == 0:
            die_with_parent()
            die_with_parent()
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(code, 0)[1]) == 7


class TestUpParts:
    @pytest.fixture
    def folder(self, new_folder: Callable[[], Path], settings: Settings) -> Path:
        settings.ONWARD_DATA = new_folder()
        return Path(settings.ONWARD_DATA)

    def test_the_lock_names_its_holder_and_falls_with_it(self, folder: Path, settings: Settings) -> None:
        settings.ONWARD_PORT = 8123
        with up._only_parent(folder):
            assert is_locked(folder / "up.lock")
            assert (folder / "up.lock").read_text() == f"process {os.getpid()}, http://127.0.0.1:8123\n"
        assert not is_locked(folder / "up.lock")

    @pytest.mark.parametrize(
        "bind", ["127.0.0.1", pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here"))]
    )
    def test_a_port_in_use_is_refused_on_either_family(self, bind: str) -> None:
        family = socket.AF_INET6 if ":" in bind else socket.AF_INET
        with socket.socket(family) as listener:
            listener.bind((bind, 0))
            listener.listen()
            port = listener.getsockname()[1]
            with pytest.raises(up.CannotStart, match=f"Port {port} on {bind} cannot be used .*PORT={port + 1} make up"):
                up._port_is_free(bind, port)
        up._port_is_free(bind, port)

    def test_an_address_of_another_machine_is_refused(self) -> None:
        with pytest.raises(up.CannotStart, match=r"Port 8000 on 192\.0\.2\.1 cannot be used"):
            up._port_is_free("192.0.2.1", 8000)

    @pytest.mark.parametrize(
        ("bind", "place", "address"),
        [
            ("127.0.0.1", "127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("0.0.0.0", "0.0.0.0:8000", "http://127.0.0.1:8000"),
            ("::", "[::]:8000", "http://[::1]:8000"),
        ],
    )
    def test_places_and_addresses(self, bind: str, place: str, address: str, settings: Settings) -> None:
        settings.ONWARD_BIND, settings.ONWARD_PORT = bind, 8000
        assert (up._place(), up._address()) == (place, address)

    def test_the_mailbox_is_the_mail_server_where_there_is_no_other(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ONWARD_SMTP_URL", "")
        settings.ONWARD_SMTP_URL = ""
        port = up._choose_mail_server()
        assert port
        assert os.environ["ONWARD_SMTP_URL"] == f"smtp://127.0.0.1:{port}"
        assert "mailbox" in {child.name for child in up._children(port)}

    def test_a_taken_mailbox_port_is_stepped_around(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ONWARD_SMTP_URL", "")
        settings.ONWARD_SMTP_URL = ""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            monkeypatch.setattr(up, "MAILBOX_PORT", listener.getsockname()[1])
            assert up._choose_mail_server() not in {None, up.MAILBOX_PORT}

    def test_the_operators_mail_server_is_used_and_no_mailbox_started(self, settings: Settings) -> None:
        settings.ONWARD_SMTP_URL = "smtp://mail.example"
        assert up._choose_mail_server() is None
        assert {child.name for child in up._children(None)} == {"web", "worker", "qcluster"}
        assert "mail: smtp://mail.example" in up._banner(None)

    def test_children_are_sized_by_the_settings(self, settings: Settings) -> None:
        settings.ONWARD_WORKERS, settings.ONWARD_WEB_WORKERS = 3, 5
        commands = {child.name: child.command for child in up._children(None)}
        assert commands["worker"][-2:] == ["--processes", "3"]
        assert commands["web"][commands["web"].index("--workers") + 1] == "5"
        assert commands["web"][commands["web"].index("--threads") + 1] == "4"

    def test_what_commands_beside_it_take_over_is_private(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ONWARD_ALLOW_CLOCK", "1")
        monkeypatch.setenv("ONWARD_SECRET_KEY", "hush")
        with up._only_parent(folder):
            up._share_environment(folder)
            shared = json.loads((folder / "up.json").read_text())
            assert shared["ONWARD_ALLOW_CLOCK"] == "1"
            assert "hush" not in str(shared)
            assert stat.S_IMODE((folder / "up.json").stat().st_mode) == 0o600
        assert not (folder / "up.json").exists()

    def test_the_banner_shows_the_credentials_that_were_kept(self, folder: Path) -> None:
        assert "createsuperuser" in up._banner(1025)
        folder.mkdir()
        (folder / up.CREDENTIALS).write_text("sign-in: mara@northwind.example pass\nAPI key: ow_x_y\n")
        text = up._banner(1025)
        assert "sign-in: mara@northwind.example pass\nAPI key: ow_x_y\nmail: caught on 127.0.0.1:1025" in text
        assert text.endswith("stop: Ctrl-C\n")

    def test_a_real_database_starts_no_embedded_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DATABASE_URL", "postgres:///x")
        told: list[str] = []
        with ExitStack() as stack:
            up._start_database(stack, told.append)
        assert told == []


class TestDemoOnce:
    def test_the_demo_workspace_is_made_once_and_its_credentials_are_kept(
        self, transactional_db: None, new_folder: Callable[[], Path], settings: Settings
    ) -> None:
        settings.ONWARD_DATA = folder = new_folder()
        told: list[str] = []
        up._prepare_data(told.append)
        assert told == ["Migrations: applying what is new", "Demo workspace: making it, once"]
        kept = (folder / up.CREDENTIALS).read_text()
        assert "sign-in: mara@northwind.example" in kept
        assert "API key: ow_" in kept
        assert stat.S_IMODE((folder / up.CREDENTIALS).stat().st_mode) == 0o600

        told.clear()
        up._prepare_data(told.append)
        assert told == ["Migrations: applying what is new"]
        assert (folder / up.CREDENTIALS).read_text() == kept

        (folder / up.CREDENTIALS).unlink()  # lost, or another data folder on the same database: no reason to stay down
        up._prepare_data(told.append)
        assert "is there already" in told[-1]
        assert Workspace.objects.filter(slug="northwind").count() == 1


def test_a_plain_environment_has_nothing_of_ours() -> None:
    assert not [name for name in plain_environment() if name.startswith(("ONWARD_", "PYTEST", "DATABASE_URL"))]
