"""The account that the embedded server runs as: PostgreSQL refuses root (STACK 2). No account is made, no parent changed."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CANDIDATES = ("postgres", "nobody")
OLDER = shutil.ignore_patterns("pginstall")  # the wheel's second, older server


class ClusterError(Exception):
    """The embedded server cannot be used; the text says why and what to do."""


@dataclass(frozen=True)
class Account:
    """An account of this machine. `other` says that it is not the one this process runs as."""

    name: str
    uid: int
    gid: int
    other: bool

    def as_subprocess(self) -> dict[str, Any]:
        """Arguments for `subprocess` that run a program as this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.other else {}

    def write(self, path: Path, text: str) -> None:
        """Replace a file by one that only this account can read."""
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            if self.other:
                os.fchown(file.fileno(), self.uid, self.gid)

    def copy_of(self, package: Path, place: Path) -> Path:
        """A copy of a package and its libraries that this account can run, made once for each of its versions."""
        copy = place / f"{(package / '__init__.py').stat().st_mtime_ns:x}"
        if not copy.exists():
            partial = place / f"partial-{os.getpid()}"
            for name in (package.name, f"{package.name}.libs"):
                if (package.parent / name).exists():
                    shutil.copytree(package.parent / name, partial / name, symlinks=True, ignore=OLDER)
            self._give(place)
            partial.rename(copy)
        return copy / package.name

    def _give(self, folder: Path) -> None:
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def server_account(folder: Path) -> Account:
    """This process's own account, for root an existing unprivileged one that can reach `folder`.

    Raises ClusterError where there is none, or where it cannot enter the folder: parents are never opened for it.
    """
    uid = os.geteuid()
    if uid != 0:
        try:
            me = pwd.getpwuid(uid)
        except KeyError as error:
            raise ClusterError(
                f"User id {uid} has no name on this machine. Give it one, or set DATABASE_URL."
            ) from error
        return Account(me.pw_name, uid, os.getegid(), other=False)
    account = _unprivileged()
    if not reachable(folder, account):
        raise ClusterError(
            f"PostgreSQL refuses to run as root, and the account {account.name} cannot enter {folder}."
            " Set ONWARD_DATA to a folder that it can reach, such as /var/lib/onward, or set DATABASE_URL."
        )
    return account


def can_be_entered(folder: Path) -> bool:
    """Whether the server's account can reach a folder that exists."""
    try:
        server_account(folder)
    except ClusterError:
        return False
    return True


def _unprivileged() -> Account:
    for name in CANDIDATES:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        if found.pw_uid:
            return Account(name, found.pw_uid, found.pw_gid, other=True)
    raise ClusterError(
        "PostgreSQL refuses to run as root, and this machine has no account postgres or nobody for it."
        " Run Onward as an ordinary user, or set DATABASE_URL."
    )


def reachable(path: Path, account: Account) -> bool:
    """Whether the account may pass every folder above `path` and `path` itself."""
    return all(_passable(part, account) for part in [path, *path.parents])


def _passable(path: Path, account: Account) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    if found.st_uid == account.uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid == account.gid:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)
