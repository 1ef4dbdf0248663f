"""Folders and processes for tests of the installation itself."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.environment import CHECKOUT
from config.postgres import TEST_SETTINGS, Cluster, Hold


def plain_environment(**variables: str) -> dict[str, str]:
    """The environment of a person who set nothing: no pytest, no variables of ours but those given."""
    ours = ("ONWARD_", "DATABASE_URL", "PORT", "PYTEST", "DJANGO", "COV_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, **variables}


def manage(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `manage.py` as such a person and wait for it."""
    return subprocess.run(
        [sys.executable, str(CHECKOUT / "manage.py"), *arguments],
        env=plain_environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def new_folder() -> Iterator[Callable[[], Path]]:
    """Names of data folders that do not exist yet, in a place that another account can reach; removed afterwards."""
    made: list[Path] = []

    def name() -> Path:
        made.append(Path("/tmp") / f"onward-t-{secrets.token_hex(6)}")
        return made[-1]

    yield name
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def kept_cluster() -> Iterator[Cluster]:
    """One embedded cluster for a module; each test attaches itself and lets go."""
    folder = Path("/tmp") / f"onward-t-{secrets.token_hex(6)}"
    yield Cluster(folder, TEST_SETTINGS)
    Cluster(folder).stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def hold(kept_cluster: Cluster) -> Iterator[Hold]:
    """The module's cluster, running."""
    found = kept_cluster.attach()
    yield found
    found.release()
