"""What happens before Django reads its settings: the environment is checked and the embedded server is there."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from config.environment import Environment, process_environment
from config.folder import FolderError, default_folder, default_test_folder, is_locked, make_folder, make_keys
from config.postgres import TEST_SETTINGS, Cluster, Hold
from config.server_account import ClusterError
from config.supervise import die_with_parent

# What `manage.py up` sets for itself and its children where the operator did not (CONTRACTS 2).
UP_DEFAULTS = {"ONWARD_DEBUG": "1", "ONWARD_ALLOW_CLOCK": "1"}
# Commands that touch neither database nor data folder.
WITHOUT_DATABASE = {
    "",
    "help",
    "--help",
    "-h",
    "version",
    "--version",
    "mailbox",
    "makemessages",
    "collectstatic",
    "spectacular",
}

# Commands that fork workers: these must not go on working when the first process is killed (STACK 3).
FORKING = {"work", "qcluster"}


def under_tests(variables: Mapping[str, str] | None = None) -> bool:
    """Whether pytest runs this process, or started it."""
    return "PYTEST_VERSION" in (os.environ if variables is None else variables)


def keys_needed() -> bool:
    """Whether the three keys must be given beside `DATABASE_URL`: always but in debug (the reader sees that) and under tests."""
    return not under_tests()


def data_folder(environment: Environment) -> Path:
    """Where this process keeps its data."""
    if environment.onward_data:
        return environment.onward_data
    return (environment.onward_test_data or default_test_folder()) if under_tests() else default_folder()


def embedded_cluster(environment: Environment) -> Cluster | None:
    """The embedded cluster, None where `DATABASE_URL` names a server."""
    if environment.database_url:
        return None
    return Cluster(data_folder(environment), TEST_SETTINGS if under_tests() else ())


def join_running(variables: MutableMapping[str, str]) -> None:
    """Take over what the `up` that runs on this data folder gave its children, so that a command typed beside it agrees.

    The operator's own variables win. Nothing is taken from an `up` that is gone.
    """
    folder = (
        Path(variables["ONWARD_DATA"]).expanduser().absolute() if variables.get("ONWARD_DATA") else default_folder()
    )
    if under_tests(variables) or not is_locked(folder / "up.lock"):
        return
    try:
        given = json.loads((folder / "up.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    for name, value in given.items():
        variables.setdefault(str(name), str(value))


def prepare(argv: list[str]) -> Hold | None:
    """Make ready what the command needs; ends the process with one clear text where that cannot be (exit 2)."""
    command = argv[1] if len(argv) > 1 else ""
    if command == "up":
        for name, value in UP_DEFAULTS.items():
            os.environ.setdefault(name, value)
    else:
        join_running(os.environ)
    if command in FORKING:
        os.register_at_fork(after_in_child=die_with_parent)
    try:
        environment = process_environment(keys_needed=keys_needed())
        if command in WITHOUT_DATABASE:
            return None
        cluster = embedded_cluster(environment)
        if cluster or environment.onward_debug:
            make_folder(data_folder(environment))
            make_keys(data_folder(environment))
        return cluster.attach() if cluster and command != "up" else None
    except (ImproperlyConfigured, FolderError, ClusterError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error
