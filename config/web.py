"""gunicorn's worker for Onward: its threads are given whole requests only, so a client that sends slowly holds none (RELIABILITY 41).

Of its own, gunicorn's threaded worker hands a connection to a thread at its first byte, and the thread waits for the rest: as many slow
clients as there are threads stop everybody. Here the loop that listens to all connections collects what comes and waits for nobody; a
request that takes too long is cut. For plain HTTP/1: TLS belongs to the proxy in front, and so do clients that read slowly.
"""

from __future__ import annotations

import errno
import io
import selectors
import socket
import time
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn.errors import ConfigError
from gunicorn.http.body import Body
from gunicorn.http.message import Request
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

from config.arriving import PIECE, Arriving, Parser, Refused

SWEEP = 0.25  # seconds between two looks for what took too long
_SLOW = Refused("408 Request Timeout", "request_timeout", "The request took too long to arrive; send it again.")
_BUSY = Refused("503 Service Unavailable", "unavailable", "Too many requests arrive slowly; send it again.")


class Connection(TConn):
    """A client, and the request that it is sending. `counted`: what the worker reckons to be kept of it, in bytes."""

    arriving: Arriving
    counted = 0

    def __init__(self, worker: Worker, client: socket.socket, address: Any, server: Any) -> None:
        super().__init__(worker.cfg, client, address, server)
        self._worker = worker
        self.parser = Parser(worker.cfg, client, address)
        self.initialized = self.data_ready = True

    def close(self, graceful: bool = False) -> None:
        """With `graceful`, when the client has read its answer: closed with bytes unread, a connection is reset and the answer's end
        lost (RFC 9112, 9.6). The loop waits for that beside everything else; gunicorn's own close stands still for it."""
        if not (graceful and self._worker.linger(self)):
            super().close()


class Worker(ThreadWorker):
    """`gunicorn --worker-class config.web.Worker`."""

    grace = 20.0  # seconds within which a request has to be there,
    pace = 16 * 1024  # and for a long one a second more for each so many bytes
    silence = 20.0  # seconds after which a thread gives up a client that takes no byte of its answer
    held_most = 64 * 1024 * 1024  # bytes of requests that a process keeps, until they are answered
    linger_most = 2.0  # seconds for a client to read its answer before its connection is closed

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._waiting: dict[Connection, None] = {}  # the oldest first
        self._lingering: dict[Connection, float] = {}
        self._held = 0
        self._swept = 0.0

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """What this worker does not do is refused at the start, and not left out in silence."""
        super().check_config(cfg, log)
        if cfg.is_ssl or cfg.protocol != "http" or cfg.proxy_protocol != "off" or "h2" in cfg.http_protocols:
            raise ConfigError(
                "config.web.Worker speaks plain HTTP/1: no certificates, no HTTP/2, no PROXY protocol, no uWSGI."
            )

    # -- coming

    def accept(self, listener: socket.socket) -> None:
        """A new connection."""
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self._free_one()
            return
        self.nr_conns += 1
        self.enqueue_req(Connection(self, client, address, listener.getsockname()))

    def enqueue_req(self, conn: Connection) -> None:
        """A connection on which a request may begin."""
        conn.sock.setblocking(False)
        conn.arriving = Arriving(conn)
        if not self._take(conn):
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._more, conn))
            self._waiting[conn] = None
            self._make_room()

    def _more(self, conn: Connection, _: socket.socket) -> None:
        """There is more of it. Who was cut in the same turn of the loop, to make room, may still be called."""
        if conn in self._waiting and not self._take(conn):
            self._make_room()

    def _take(self, conn: Connection) -> bool:
        """Read on; False when it has to wait for more."""
        try:
            whole = conn.arriving.take()
        except Refused as reason:
            self._refuse(conn, reason)
            return True
        self._count(conn, conn.arriving.size)
        if not whole:
            return False
        if self._held > self.held_most and conn.counted > PIECE:
            self._refuse(conn, _BUSY)
        else:
            self._forget(conn)
            super().enqueue_req(conn)
        return True

    def finish_request(self, conn: Connection, fs: Any) -> None:
        """It was answered: nothing is kept of it, on a connection that goes on either."""
        self._count(conn, 0)
        if conn.parser.mesg:
            conn.parser.mesg.body = Body(io.BytesIO())
        super().finish_request(conn, fs)

    def _count(self, conn: Connection, size: int) -> None:
        self._held += size - conn.counted
        conn.counted = size

    def _make_room(self) -> None:
        """The largest give way when too much is kept, the oldest when too many wait."""
        while self._waiting and self._held > self.held_most:
            self._cut(max(self._waiting, key=lambda conn: conn.counted), _BUSY)
        while len(self._waiting) > max(1, self.worker_connections // 2):
            self._cut(next(iter(self._waiting)), _BUSY)

    def _free_one(self) -> None:
        """This process may open nothing more."""
        if self._lingering:
            self._leave(next(iter(self._lingering)))
        elif self._waiting:
            self._end(next(iter(self._waiting)))
        else:
            time.sleep(0.05)  # threads are at work on all of them, and will end some

    # -- going

    def murder_pending(self) -> None:
        """gunicorn's name for the place where the loop ends what took too long, after every turn."""
        now = time.monotonic()
        if now < self._swept + SWEEP:
            return
        self._swept = now
        for conn in [conn for conn in self._waiting if self._is_late(conn.arriving, now)]:
            self._cut(conn, _SLOW)
        for conn in [conn for conn, until in self._lingering.items() if until <= now]:
            self._leave(conn)

    def _is_late(self, arriving: Arriving, now: float) -> bool:
        if not self.alive and not arriving.size:
            return now - arriving.began > STOP_KEEPALIVE_LINGER
        return now - arriving.began > self.grace + arriving.size / self.pace

    def _forget(self, conn: Connection) -> None:
        """It waits no longer, if it did."""
        if conn in self._waiting:
            del self._waiting[conn]
            self.poller.unregister(conn.sock)

    def _cut(self, conn: Connection, reason: Refused) -> None:
        """End one that waits; who has asked nothing is told nothing."""
        if conn.arriving.size:
            self._refuse(conn, reason)
        else:
            self._end(conn)

    def _refuse(self, conn: Connection, reason: Refused) -> None:
        self.log.info("%s: %s %s", conn.client, reason.status, reason)
        with suppress(OSError):
            conn.sock.send(reason.answer())
        self._end(conn, graceful=True)

    def _end(self, conn: Connection, graceful: bool = False) -> None:
        self._forget(conn)
        self._count(conn, 0)
        self.nr_conns -= 1
        conn.close(graceful)

    def linger(self, conn: Connection) -> bool:
        """Let a client read its answer, beside everything else; False when it is gone already, or too many do."""
        if len(self._lingering) >= max(1, self.worker_connections // 4):
            return False
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        conn.sock.setblocking(False)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._discard, conn))
        self._lingering[conn] = time.monotonic() + self.linger_most
        self.nr_conns += 1
        return True

    def _discard(self, conn: Connection, client: socket.socket) -> None:
        try:
            ended = not client.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            ended = True
        if ended and conn in self._lingering:
            self._leave(conn)

    def _leave(self, conn: Connection) -> None:
        del self._lingering[conn]
        self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def handle_request(self, req: Request, conn: Connection) -> Any:
        """In a thread. Nothing of the request is missing; the answer may still meet a client that does not read."""
        conn.sock.settimeout(self.silence)
        return super().handle_request(req, conn)
