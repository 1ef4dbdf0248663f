"""The Makefile on machines that lack something, and what continuous integration calls (CONTRACTS 2)."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from config.environment import CHECKOUT

MAKE = shutil.which("make") or "make"
OLD = '#!/bin/sh\ncase "$1" in --version) echo "Python 3.9.2";; *) exit 1;; esac\n'
# New enough, but without the module that makes virtual environments.
BARE = '#!/bin/sh\ncase "$*" in *venv*) exit 1;; *) exit 0;; esac\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with nothing but its Makefile and lock files."""
    folder = tmp_path / "project"
    (folder / "config").mkdir(parents=True)
    shutil.copy(CHECKOUT / "Makefile", folder)
    for lock in ("requirements.lock", "requirements-dev.lock"):
        (folder / "config" / lock).write_text("")
    return folder


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def make(project: Path, *arguments: str, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MAKE, "--no-print-directory", *arguments],
        cwd=project,
        env={"PATH": path, "HOME": str(project)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def tools(folder: Path) -> str:
    """A PATH with the plain tools and no Python at all."""
    for name in ("sh", "rm", "touch", "echo", "tail", "find"):
        found = shutil.which(name)
        assert found, name
        folder.mkdir(exist_ok=True)
        (folder / name).symlink_to(found)
    return str(folder)


class TestPython:
    def test_one_that_is_too_old_is_named_with_what_to_do(self, project: Path, tmp_path: Path) -> None:
        program(tmp_path / "bin", "python3", OLD)
        done = make(project, "up", path=f"{tmp_path / 'bin'}:{tools(tmp_path / 'tools')}")
        assert done.returncode != 0
        assert "Onward needs Python 3.11 or newer. Found: Python 3.9.2." in done.stderr
        assert "make up PYTHON=/path/to/python3.11" in done.stderr
        assert not (project / ".venv").exists()

    def test_none_at_all_is_said_too(self, project: Path, tmp_path: Path) -> None:
        done = make(project, "test", path=tools(tmp_path / "tools"))
        assert done.returncode != 0
        assert "Onward needs Python 3.11 or newer." in done.stderr

    def test_a_newer_one_beside_an_old_default_is_found(self, project: Path, tmp_path: Path) -> None:
        program(tmp_path / "bin", "python3", OLD)
        (tmp_path / "bin" / "python3.12").symlink_to(sys.executable)
        make(project, ".venv/bin/python", path=f"{tmp_path / 'bin'}:{tools(tmp_path / 'tools')}")
        assert (project / ".venv" / "bin" / "python").exists()

    def test_one_without_venv_is_told_how_to_get_it(self, project: Path, tmp_path: Path) -> None:
        program(tmp_path / "bin", "python3", BARE)
        done = make(project, "up", path=f"{tmp_path / 'bin'}:{tools(tmp_path / 'tools')}")
        assert done.returncode != 0
        assert "apt install python3-venv" in done.stderr
        assert not (project / ".venv").exists()

    def test_the_one_that_is_named_is_used_and_no_other(self, project: Path, tmp_path: Path) -> None:
        done = make(
            project, "up", "PYTHON=/no/such/python", path=f"{Path(sys.executable).parent}:{tools(tmp_path / 'tools')}"
        )
        assert done.returncode != 0
        assert not (project / ".venv").exists()


class TestTargets:
    def test_clean_removes_what_was_built_and_nothing_else(self, project: Path, tmp_path: Path) -> None:
        for name in (".venv", ".mypy_cache", "staticfiles", "accounts/__pycache__"):
            (project / name).mkdir(parents=True)
        (project / "accounts" / "models.py").write_text("")
        done = make(project, "clean", path=tools(tmp_path / "tools"))
        assert done.returncode == 0, done.stderr
        assert sorted(path.name for path in project.iterdir()) == ["Makefile", "accounts", "config"]
        assert [path.name for path in (project / "accounts").iterdir()] == ["models.py"]

    def test_packages_are_installed_with_their_hashes_only(self) -> None:
        text = (CHECKOUT / "Makefile").read_text()
        installs = [line for line in text.splitlines() if "pip install" in line]
        assert installs
        assert all("--require-hashes" in line for line in installs)

    def test_what_ci_runs_is_what_people_run(self) -> None:
        script = CHECKOUT / ".ci" / "run"
        assert script.stat().st_mode & stat.S_IXUSR
        assert script.read_text().splitlines()[-1] == "exec make test"
        found = subprocess.run(["bash", "-n", str(script)], check=False)
        assert found.returncode == 0

    def test_test_means_lint_types_and_tests_in_that_order(self, tmp_path: Path) -> None:
        """Seen from make itself, with everything installed: the last thing it calls is pytest."""
        done = subprocess.run(
            [MAKE, "--dry-run", "--no-print-directory", "test"],
            cwd=CHECKOUT,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=True,
        )
        calls = [line.split(" -m ")[1].split()[0] for line in done.stdout.splitlines() if " -m " in line]
        checks = [call for call in calls if call in {"ruff", "mypy", "pytest"}]
        assert checks == ["ruff", "ruff", "mypy", "pytest"]
        assert calls[-1] == "pytest"
