"""The data folder: private, made once, its keys generated once."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from config.folder import (
    FolderError,
    default_folder,
    default_test_folder,
    is_locked,
    make_folder,
    make_keys,
    read_keys,
    write_private,
)
from config.start import join_running, prepare


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_is_closed_to_others(new_folder: Callable[[], Path]) -> None:
    folder = new_folder()
    make_folder(folder)
    assert mode(folder) == (0o711 if os.geteuid() == 0 else 0o700)  # root's server passes through as another account


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(FolderError, match=f"belongs to another user .id {owner}."):
        make_folder(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match=r"cannot be made .*ONWARD_DATA"):
        make_folder(tmp_path / "file" / "data")


def test_root_keeps_data_where_an_unprivileged_server_can_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_folder() == Path("/var/lib/onward")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_folder().name == "onward"
    assert default_folder() != Path("/var/lib/onward")


class TestKeys:
    def test_there_are_none_before_they_are_made(self, tmp_path: Path) -> None:
        assert read_keys(tmp_path) is None

    def test_racing_processes_get_the_same_keys(self, tmp_path: Path) -> None:
        with ThreadPoolExecutor(8) as pool:
            found = set(pool.map(make_keys, [tmp_path] * 8))
        assert found == {read_keys(tmp_path)}

    def test_only_the_owner_can_read_them(self, tmp_path: Path) -> None:
        make_keys(tmp_path)
        assert mode(tmp_path / "keys.json") == 0o600

    def test_they_are_long_and_differ(self, tmp_path: Path) -> None:
        keys = make_keys(tmp_path)
        assert len({keys.secret, keys.queue, *keys.encryption}) == 3
        assert min(len(keys.secret), len(keys.queue)) >= 50

    def test_a_damaged_file_is_never_replaced_silently(self, tmp_path: Path) -> None:
        (tmp_path / "keys.json").write_text("{")
        with pytest.raises(FolderError, match=r"keys\.json cannot be read .*backup"):
            make_keys(tmp_path)
        assert (tmp_path / "keys.json").read_text() == "{"


class TestPrivateFiles:
    def test_they_replace_what_was_there_and_leave_no_partial_file(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        path.write_text("old")
        path.chmod(0o644)
        write_private(path, "new")
        assert (path.read_text(), mode(path)) == ("new", 0o600)
        assert [found.name for found in tmp_path.iterdir()] == ["secret"]


class TestJoining:
    """A command typed beside a running `up` agrees with it (config.start.join_running)."""

    @pytest.fixture
    def running(self, tmp_path: Path) -> Path:
        (tmp_path / "up.json").write_text('{"ONWARD_ALLOW_CLOCK": "1", "ONWARD_SMTP_URL": "smtp://127.0.0.1:1025"}')
        return tmp_path

    def test_it_takes_over_what_the_operator_did_not_set(self, running: Path) -> None:
        variables = {"ONWARD_DATA": str(running), "ONWARD_ALLOW_CLOCK": "0"}
        with (running / "up.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert is_locked(running / "up.lock")
            join_running(variables)
        assert variables["ONWARD_SMTP_URL"] == "smtp://127.0.0.1:1025"
        assert variables["ONWARD_ALLOW_CLOCK"] == "0"

    def test_it_takes_nothing_from_one_that_is_gone(self, running: Path) -> None:
        variables = {"ONWARD_DATA": str(running)}
        join_running(variables)
        (running / "up.lock").touch()
        join_running(variables)
        assert set(variables) == {"ONWARD_DATA"}

    def test_a_command_without_database_starts_no_server(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("DATABASE_URL", raising=False)
        monkeypatch.setenv("ONWARD_DATA", str(tmp_path / "data"))
        for argv in (["manage.py"], ["manage.py", "help"], ["manage.py", "mailbox"]):
            assert prepare(argv) is None
        assert not (tmp_path / "data").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs as another account")
class TestRoot:
    def test_a_private_place_for_temporary_files_is_no_place_for_the_tests_server(
        self, monkeypatch: pytest.MonkeyPatch, new_folder: Callable[[], Path]
    ) -> None:
        private = new_folder()
        private.mkdir(mode=0o700)
        for place, base in ((private, Path("/tmp")), (Path("/var/tmp"), Path("/var/tmp"))):
            monkeypatch.setattr("tempfile.tempdir", str(place))
            assert default_test_folder().parent == base

    def test_a_strict_umask_does_not_shut_the_server_out(self, new_folder: Callable[[], Path]) -> None:
        before = os.umask(0o077)
        try:
            made = new_folder()
            make_folder(made)
        finally:
            os.umask(before)
        assert mode(made) == 0o711

    def test_a_folder_that_was_closed_on_purpose_stays_so(self, new_folder: Callable[[], Path]) -> None:
        closed = new_folder()
        closed.mkdir(mode=0o700)
        make_folder(closed)
        assert mode(closed) == 0o700
