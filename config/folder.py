"""The data folder: cluster, generated keys, mailbox, credentials. Made once, private, never inside the checkout."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from platformdirs import user_data_dir

from config.server_account import can_be_entered

ROOT_FOLDER = Path("/var/lib/onward")


class FolderError(Exception):
    """The data folder cannot be used; the text says why and what to do."""


def default_folder() -> Path:
    """The user's data folder; for root a place that an unprivileged server can reach (STACK 2)."""
    if os.geteuid() == 0:
        return ROOT_FOLDER
    return Path(user_data_dir("onward", appauthor=False))


def default_test_folder() -> Path:
    """One folder per user and checkout for the tests' cluster, kept between runs because an empty one costs a second."""
    checkout = sha256(bytes(Path(__file__).resolve().parent)).hexdigest()[:8]
    return _temporary() / f"onward-test-{os.geteuid()}-{checkout}"


def _temporary() -> Path:
    """The place for temporary files; for root one that the server's account can enter, which a TMPDIR of root's own is not."""
    own = Path(tempfile.gettempdir())
    if os.geteuid() != 0:
        return own
    return next((place for place in (own, Path("/tmp"), Path("/var/tmp")) if can_be_entered(place)), own)


def make_folder(folder: Path) -> None:
    """Make the data folder. As root others may pass through it, because the server runs as another account."""
    passable = os.geteuid() == 0
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not folder.exists():
            folder.mkdir(mode=0o711 if passable else 0o700, exist_ok=True)
            folder.chmod(0o711 if passable else 0o700)  # what the umask may have taken away
        owner = folder.stat().st_uid
    except OSError as error:
        raise FolderError(f"The data folder {folder} cannot be made ({error.strerror}). Set ONWARD_DATA.") from error
    if owner != os.geteuid():
        raise FolderError(f"The data folder {folder} belongs to another user (id {owner}). Set ONWARD_DATA.")


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all; the data folder is made where it is missing."""
    if not path.parent.exists():
        make_folder(path.parent)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` alone; waits for whoever holds it."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock file `path` now."""
    try:
        with path.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such file or folder: nobody is there
        return False
    return False


@dataclass(frozen=True)
class Keys:
    """Sessions, queue payloads, stored secrets (the first of `encryption` writes, all read)."""

    secret: str
    queue: str
    encryption: tuple[str, ...]


def new_keys() -> Keys:
    """Random keys."""
    stored = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return Keys(secrets.token_urlsafe(50), secrets.token_urlsafe(50), (stored,))


def make_keys(folder: Path) -> Keys:
    """The keys of the data folder, generated at the first call."""
    with locked(folder / "keys.lock"):
        found = read_keys(folder)
        if found is None:
            found = new_keys()
            write_private(folder / "keys.json", json.dumps(asdict(found), indent=1))
        return found


def read_keys(folder: Path) -> Keys | None:
    """The keys of the data folder, None while there are none."""
    try:
        data = json.loads((folder / "keys.json").read_text(encoding="utf-8"))
        return Keys(data["secret"], data["queue"], tuple(data["encryption"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        raise FolderError(f"{folder / 'keys.json'} cannot be read ({error}). Restore it from a backup.") from error
