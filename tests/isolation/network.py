"""Hosts with networks of their own: network namespaces behind one bridge, each with a cable that can be pulled (Linux, as root)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aiosmtpd.controller import Controller

from tests.chaos.peers import Mailbox
from tests.chaos.server import Server, own_server
from tests.worker.smtp_peer import _free_port


def cannot() -> str:
    """Why this machine can have no such hosts; empty where it can."""
    if shutil.which("ip") is None:
        return "network namespaces need the command `ip` (Debian: iproute2)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"try-{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"network namespaces are refused here: {tried.stderr.strip()}"
    _ip("netns", "del", name)
    return ""


@dataclass
class Cable:
    """One host's network: its name, its address, and the end of its cable on our side."""

    namespace: str
    address: str
    plug: str

    @property
    def enter(self) -> tuple[str, ...]:
        """What stands before a command that is to run there."""
        return ("ip", "netns", "exec", self.namespace)

    def pull(self) -> None:
        """Nothing goes through any more, and neither side is told."""
        _ip("link", "set", self.plug, "nomaster")

    def plug_in(self) -> None:
        """As before."""
        _ip("link", "set", self.plug, "master", _BRIDGE)


_BRIDGE = f"onw{os.getpid()}"[:15]
_NET = f"10.99.{os.getpid() % 250}"
HERE = f"{_NET}.1"


@contextmanager
def cables(count: int) -> Iterator[list[Cable]]:
    """So many hosts on one bridge with us; nothing of it is left."""
    made = [Cable(f"{_BRIDGE}-{n}", f"{_NET}.{10 + n}", f"v{os.getpid()}-{n}") for n in range(count)]
    _ip("link", "add", _BRIDGE, "type", "bridge")
    try:
        _ip("addr", "add", f"{HERE}/24", "dev", _BRIDGE)
        _ip("link", "set", _BRIDGE, "up")
        for cable in made:
            _lay(cable)
        yield made
    finally:
        for cable in made:
            subprocess.run(["ip", "netns", "del", cable.namespace], capture_output=True, check=False)
        _ip("link", "del", _BRIDGE)


def _lay(cable: Cable) -> None:
    inside = ("-n", cable.namespace)
    _ip("netns", "add", cable.namespace)
    _ip("link", "add", cable.plug, "type", "veth", "peer", "name", "eth0", "netns", cable.namespace)
    _ip("link", "set", cable.plug, "master", _BRIDGE, "up")
    _ip(*inside, "addr", "add", f"{cable.address}/24", "dev", "eth0")
    _ip(*inside, "link", "set", "lo", "up")
    _ip(*inside, "link", "set", "eth0", "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextmanager
def server_on_tcp(name: str, address: str = HERE) -> Iterator[tuple[Server, str]]:
    """A server of its own that listens at an address, and its URL over TCP."""
    with own_server(name, settings=(("listen_addresses", address),)) as server:
        _admit(server)
        yield server, f"postgres://onward@{address}:5432/onward?sslmode=disable"


def _admit(server: Server) -> None:
    """Let everybody in who comes over TCP: these networks are ours alone."""
    rules = server.cluster.data / "pg_hba.conf"
    rules.write_text(rules.read_text() + f"host all all {_NET}.0/24 trust\nhost all all 127.0.0.0/8 trust\n")
    server.ask("SELECT pg_reload_conf()")


class NearMailbox(Mailbox):
    """A mail server that the hosts reach over the bridge."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]  # as it was called
        self._controller = Controller(self, hostname=HERE, port=_free_port())

    @property
    def url(self) -> str:
        """What ONWARD_SMTP_URL takes."""
        return f"smtp://{HERE}:{self._controller.port}"
