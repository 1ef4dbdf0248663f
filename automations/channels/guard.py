"""The network under the only HTTP client there is: resolve once, check every address, connect to the checked one.

Whatever a URL looks like, what counts is the address the socket goes to; so the check stands here and nowhere else,
and a second look-up that answers otherwise (rebinding) cannot happen. Every read and write shares one deadline, so
that an answer of one byte a second ends when its time is over.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from ipaddress import ip_address
from typing import Any

import httpcore

from automations.channels.addresses import Address, Blocked, Egress

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 15.0

# The system's resolver takes no time limit, so it is asked in a thread that may be left behind.
_resolvers = ThreadPoolExecutor(16, thread_name_prefix="resolve")


class GuardedBackend(httpcore.NetworkBackend):
    """One call's network. `total` seconds for all of it, `connect` for name and handshake."""

    def __init__(self, egress: Egress, connect: float = CONNECT_SECONDS, total: float = TOTAL_SECONDS) -> None:
        self._egress = egress
        self._connect = connect
        self._deadline = time.monotonic() + total
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first of the checked addresses that answers. `Blocked` when any of them is not allowed."""
        until = min(self._deadline, time.monotonic() + self._connect)
        addresses = resolve(host, port, until)
        for address in addresses:
            self._egress.check(address, port)
        error: Exception = httpcore.ConnectError(f"“{host}” has no address.")
        for address in addresses:
            try:
                stream = self._inner.connect_tcp(str(address), port, _left(until), local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failure:
                error = failure
            else:
                return _Bounded(stream, self._deadline)
        raise error

    def connect_unix_socket(self, *_args: Any, **_kwargs: Any) -> httpcore.NetworkStream:
        """Never."""
        raise Blocked("Unix sockets are not called.")


def resolve(host: str, port: int, until: float) -> list[Address]:
    """All addresses of a host, asked for once; at most until that monotonic time."""
    asked = _resolvers.submit(socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM)
    try:
        found = asked.result(_left(until))
    except Late:
        raise httpcore.ConnectTimeout(f"The name “{host}” was not resolved in time.") from None
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"The name “{host}” cannot be resolved.") from error
    return list(dict.fromkeys(ip_address(str(entry[4][0])) for entry in found))


def _left(until: float) -> float:
    return max(until - time.monotonic(), 0.001)


class _Bounded(httpcore.NetworkStream):
    """A stream whose operations all end by one deadline."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: float) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._time(httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._time(httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        seconds = min(self._time(httpcore.ConnectTimeout), CONNECT_SECONDS)
        return _Bounded(self._inner.start_tls(ssl_context, server_hostname, seconds), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    def _time(self, late: type[Exception]) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise late("The time for this call is over.")
        return left
