"""Which network addresses an outgoing call may reach (RELIABILITY 42 to 45).

Our own table, because the `ipaddress` module changes its mind by patch release: `192.0.0.192` and NAT64 counted as
global in 3.11. IPv6 is refused outside the global unicast block, so mapped, 6to4, Teredo and NAT64 forms cannot carry
an inner address.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from django.conf import settings

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PORTS = frozenset({80, 443, 8443})

_GLOBAL_V6 = ip_network("2000::/3")
_DENIED = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments, a metadata address among them
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # automatic multicast tunnelling
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
#: Where clouds hand out credentials. No setting opens these.
_METADATA = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",
        "169.254.169.253",
        "169.254.170.2",
        "169.254.170.23",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
    )
)


class Blocked(ValueError):
    """The call would reach what it must not; the text says what, without saying what is there."""


@dataclass(frozen=True, slots=True)
class Egress:
    """`allowed`: networks that may be reached although private, on any port. `ports`: those of the rest."""

    allowed: tuple[Network, ...] = ()
    ports: frozenset[int] = PORTS

    def check(self, address: Address, port: int) -> None:
        """Nothing when the address and port may be called, else `Blocked`."""
        if (getattr(address, "ipv4_mapped", None) or address) in _METADATA:
            raise Blocked(f"{address} is a metadata address; it is never called.")
        if any(address.version == network.version and address in network for network in self.allowed):
            return
        if _private(address):
            raise Blocked(f"{address} is not a public address; ONWARD_EGRESS_ALLOW can allow its network.")
        if port not in self.ports:
            raise Blocked(f"Port {port} may not be called; allowed are {', '.join(map(str, sorted(self.ports)))}.")


def _private(address: Address) -> bool:
    if isinstance(address, IPv6Address) and (address.scope_id or address not in _GLOBAL_V6):
        return True
    return any(address.version == network.version and address in network for network in _DENIED)


def egress() -> Egress:
    """What this installation allows (`ONWARD_EGRESS_ALLOW`)."""
    return Egress(_networks(tuple(str(item) for item in getattr(settings, "ONWARD_EGRESS_ALLOW", ()))))


@lru_cache(maxsize=8)
def _networks(texts: Iterable[str]) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)
