"""The embedded server: starts once, survives what kills it, is nobody else's, and says clearly what it refuses."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest

from config.environment import CHECKOUT
from config.folder import make_folder
from config.postgres import LONGEST_SOCKET, SOCKET, TEST_SETTINGS, Cluster, Hold
from config.server_account import Account, ClusterError, reachable, server_account

ATTACH = """
import sys
from pathlib import Path
from config.postgres import TEST_SETTINGS, Cluster
cluster = Cluster(Path(sys.argv[1]), TEST_SETTINGS)
hold = cluster.attach()
print((cluster.data / "postmaster.pid").read_text().split()[0], flush=True)
sys.stdin.read()
hold.release()
"""
NewFolder = Callable[[], Path]


def connect(cluster: Cluster) -> psycopg.Connection[tuple[object, ...]]:
    database = cluster.database()
    return psycopg.connect(host=database.host, user=database.user, dbname=database.name, autocommit=True)


def postmaster(cluster: Cluster) -> int:
    return int((cluster.data / "postmaster.pid").read_text().split()[0])


def starts(cluster: Cluster) -> int:
    return (cluster.home / "server.log").read_text().count("database system is ready to accept connections")


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class TestStart:
    def test_racing_processes_on_an_empty_folder_share_one_server(self, new_folder: NewFolder) -> None:
        folder = new_folder()
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", ATTACH, str(folder)],
                cwd=CHECKOUT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        pids = [racer.stdout.readline().strip() for racer in racers if racer.stdout]
        cluster = Cluster(folder, TEST_SETTINGS)
        assert pids == [str(postmaster(cluster))] * 4
        assert starts(cluster) == 1
        for racer in racers:
            racer.communicate()
        assert [racer.returncode for racer in racers] == [0] * 4
        assert not cluster.ready()  # the last one to let go stopped it
        assert gone(int(pids[0]))

    def test_a_killed_initdb_leaves_nothing_in_the_way(self, new_folder: NewFolder) -> None:
        cluster = Cluster(new_folder(), TEST_SETTINGS)
        make_folder(cluster.folder)
        half = cluster.home / "data.init"
        half.mkdir(parents=True)
        (half / "PG_VERSION").write_text("18\n")
        account = server_account(cluster.folder)
        for path in (cluster.home, half):
            os.chown(path, account.uid, account.gid)
        hold = cluster.attach()
        assert cluster.ready()
        assert not half.exists()
        hold.release()

    def test_a_long_path_gets_a_short_socket_folder(self, new_folder: NewFolder) -> None:
        outer = new_folder()
        make_folder(outer)
        cluster = Cluster(outer / ("deep" * 25), TEST_SETTINGS)
        assert len(bytes(cluster.home / "run" / SOCKET)) > LONGEST_SOCKET
        assert len(bytes(cluster.sockets / SOCKET)) <= LONGEST_SOCKET
        hold = cluster.attach()
        assert cluster.ready()
        hold.release()
        shutil.rmtree(cluster.sockets)

    def test_another_major_version_is_refused_with_advice(self, new_folder: NewFolder) -> None:
        cluster = Cluster(new_folder(), TEST_SETTINGS)
        cluster.attach().release()
        (cluster.data / "PG_VERSION").write_text("17\n")
        with pytest.raises(ClusterError, match=r"PostgreSQL 17, Onward carries 18.*pg_dumpall.*DATABASE_URL"):
            cluster.attach()

    def test_a_server_that_cannot_start_shows_its_log(
        self, new_folder: NewFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("config.postgres.START_SECONDS", 0)
        cluster = Cluster(new_folder(), (*TEST_SETTINGS, ("no_such_setting", "1")))
        with pytest.raises(ClusterError, match="no_such_setting"):
            cluster.attach()

    def test_a_failed_start_holds_nothing(self, new_folder: NewFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = new_folder()
        monkeypatch.setattr("config.postgres.START_SECONDS", 0)
        with pytest.raises(ClusterError):
            Cluster(folder, (*TEST_SETTINGS, ("no_such_setting", "1"))).attach()
        hold = Cluster(folder, TEST_SETTINGS).attach()
        hold.release()
        assert not Cluster(folder).ready()


class TestRecovery:
    def test_data_survives_a_killed_server(self, hold: Hold) -> None:
        cluster = hold.cluster
        with connect(cluster) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
            connection.execute("INSERT INTO kept VALUES (1)")
        killed = postmaster(cluster)
        os.kill(killed, signal.SIGKILL)
        while not gone(killed):
            time.sleep(0.01)
        second = cluster.attach()
        assert postmaster(cluster) != killed
        with connect(cluster) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1,)
        second.release()

    def test_a_pid_file_of_a_recycled_pid_does_not_fool_it(self, kept_cluster: Cluster) -> None:
        """After a power loss the pid in the file may belong to anybody, here to this very test."""
        kept_cluster.attach().release()
        content = f"{os.getpid()}\n{kept_cluster.data}\n1\n5432\n{kept_cluster.sockets}\n"
        (kept_cluster.data / "postmaster.pid").write_text(content)
        (kept_cluster.sockets / f"{SOCKET}.lock").write_text(content)
        hold = kept_cluster.attach()
        assert kept_cluster.ready()
        assert postmaster(kept_cluster) != os.getpid()
        hold.release()

    def test_ready_means_a_connection_not_a_pid_file(self, kept_cluster: Cluster) -> None:
        kept_cluster.attach().release()
        (kept_cluster.data / "postmaster.pid").write_text(f"{os.getpid()}\n")
        assert not kept_cluster.ready()
        (kept_cluster.data / "postmaster.pid").unlink()


class TestHold:
    def test_the_server_stays_while_anybody_holds_it(self, hold: Hold) -> None:
        second = hold.cluster.attach()
        second.release()
        assert hold.cluster.ready()

    def test_letting_go_twice_is_harmless(self, hold: Hold) -> None:
        second = hold.cluster.attach()
        second.release()
        second.release()
        assert hold.cluster.ready()

    def test_a_killed_user_does_not_hold_for_ever(self, kept_cluster: Cluster) -> None:
        user = subprocess.Popen(
            [sys.executable, "-c", ATTACH, str(kept_cluster.folder)],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert user.stdout
        assert user.stdout.readline()
        user.kill()
        user.communicate()
        assert kept_cluster.ready()  # the server is detached: it outlives a crashed parent
        kept_cluster.attach().release()
        assert not kept_cluster.ready()

    def test_a_forked_child_lets_go_of_nothing(self, hold: Hold) -> None:
        child = os.fork()
        if child == 0:
            hold.release()
            os._exit(0)
        os.waitpid(child, 0)
        assert hold.cluster.ready()

    def test_attaching_to_a_running_server_is_quick(self, hold: Hold) -> None:
        began = time.monotonic()
        hold.cluster.attach().release()
        assert time.monotonic() - began < 1


class TestPrivacy:
    def test_sort_order_is_the_same_on_every_machine(self, hold: Hold) -> None:
        with connect(hold.cluster) as connection:
            found = connection.execute("SELECT datlocprovider, datlocale FROM pg_database WHERE datname = 'onward'")
            assert found.fetchone() == ("b", "C.UTF-8")
            assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)
            assert connection.execute("SHOW timezone").fetchone() == ("UTC",)

    def test_it_listens_on_its_socket_only(self, hold: Hold) -> None:
        with connect(hold.cluster) as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert stat.S_IMODE(hold.cluster.sockets.stat().st_mode) == 0o700
        assert stat.S_IMODE(hold.cluster.home.stat().st_mode) == 0o700

    def test_only_mapped_users_may_sign_in(self, hold: Hold) -> None:
        with pytest.raises(psycopg.OperationalError, match=r"does not exist|Peer authentication failed"):
            psycopg.connect(host=str(hold.cluster.sockets), user="somebody", dbname="onward")

    def test_no_parent_folder_is_changed(self, hold: Hold) -> None:
        before = [path.stat().st_mode for path in hold.cluster.folder.parents]
        hold.cluster.attach().release()
        assert [path.stat().st_mode for path in hold.cluster.folder.parents] == before

    def test_a_folder_of_somebody_else_is_refused(self, new_folder: NewFolder) -> None:
        cluster = Cluster(new_folder(), TEST_SETTINGS)
        make_folder(cluster.folder)
        elsewhere = new_folder()
        elsewhere.mkdir()
        cluster.home.symlink_to(elsewhere)
        with pytest.raises(ClusterError, match="belongs to somebody else"):
            cluster.attach()


class TestAccount:
    def test_a_closed_folder_is_not_reachable_for_another_account(self, tmp_path: Path) -> None:
        stranger = Account("stranger", 54_321, 54_321, other=True)
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        (closed / "inside").mkdir()
        assert not reachable(closed / "inside", stranger)
        assert not reachable(tmp_path / "missing", stranger)
        assert reachable(Path("/"), stranger)

    def test_modes_of_owner_and_group_count_for_them(self, tmp_path: Path) -> None:
        folder = tmp_path / "folder"
        folder.mkdir(mode=0o700)
        found = folder.stat()
        for uid, gid, mode, expected in [
            (found.st_uid, 1, 0o100, True),
            (found.st_uid, 1, 0o011, False),
            (54_321, found.st_gid, 0o010, True),
            (54_321, found.st_gid, 0o101, False),
            (54_321, 54_321, 0o001, True),
        ]:
            folder.chmod(mode)
            from config.server_account import _passable

            assert _passable(folder, Account("x", uid, gid, other=True)) is expected, oct(mode)
        folder.chmod(0o700)

    def test_root_runs_the_server_as_somebody_else_and_nobody_else_does(self, new_folder: NewFolder) -> None:
        folder = new_folder()
        make_folder(folder)
        account = server_account(folder)
        if os.geteuid() == 0:
            assert account.uid != 0
            assert account.as_subprocess()["user"] == account.uid
        else:
            assert account.uid == os.geteuid()
            assert account.as_subprocess() == {}

    def test_root_with_a_folder_that_the_account_cannot_enter_is_told_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tmp_path.chmod(0o700)
        (tmp_path / "data").mkdir()
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        with pytest.raises(ClusterError, match=r"refuses to run as root.*ONWARD_DATA.*DATABASE_URL"):
            server_account(tmp_path / "data")

    def test_a_machine_without_an_account_for_root_is_told_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr("config.server_account.CANDIDATES", ("no-such-account",))
        with pytest.raises(ClusterError, match="Run Onward as an ordinary user, or set DATABASE_URL"):
            server_account(Path("/tmp"))

    def test_a_user_without_a_name_is_told_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 2_000_123)
        with pytest.raises(ClusterError, match="User id 2000123 has no name"):
            server_account(Path("/tmp"))

    def test_programs_are_copied_where_the_environment_is_closed(
        self, new_folder: NewFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As root in a checkout below a private home the server's account cannot enter the virtual environment."""
        cluster = Cluster(new_folder(), TEST_SETTINGS)
        monkeypatch.setattr("config.postgres.reachable", lambda path, account: False)
        hold = cluster.attach()
        with connect(cluster) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        running = Path(f"/proc/{postmaster(cluster)}/exe")
        if running.exists():
            assert cluster.home / "programs" in running.resolve().parents
        hold.release()
        assert len(list((cluster.home / "programs").iterdir())) == 1
