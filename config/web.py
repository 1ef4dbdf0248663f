"""gunicorn's worker for Onward: its threads are given whole requests only, so a client that sends slowly holds none (RELIABILITY 41).

Of its own, gunicorn's threaded worker hands a connection to a thread at its first byte, and the thread waits for the rest: as many slow
clients as there are threads stop everybody. Here the loop that listens to all connections collects what comes and waits for nobody; a
request that takes too long is cut. For plain HTTP/1: TLS belongs to the proxy in front.
"""

from __future__ import annotations

import errno
import json
import selectors
import socket
import time
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn.http.body import LengthReader
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser
from gunicorn.workers.gthread import TConn, ThreadWorker

PIECE = 64 * 1024  # bytes read from a connection at once
HEAD_MOST = 64 * 1024  # bytes of a request's head
BODY_MOST = (
    9 * 1024 * 1024
)  # a longer body is left to the thread that has to refuse it (DATA_UPLOAD_MAX_MEMORY_SIZE is less)
_END = b"\r\n\r\n"


class Refused(Exception):
    """The server itself answers this request, and its connection ends."""

    def __init__(self, status: str, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code

    def answer(self) -> bytes:
        """The whole response, in the shape of every error of the API (CONTRACTS 7)."""
        body = json.dumps({"code": self.code, "message": str(self), "details": {}}).encode()
        head = f"HTTP/1.1 {self.status}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        return head.encode() + _END + body


class Parser(RequestParser):
    """gunicorn's own; what the loop has read, or met while it read, is what the thread gets."""

    held: Request | Exception | None = None

    def __next__(self) -> Request:
        held, self.held = self.held, None
        if isinstance(held, Exception):
            raise held
        return held or super().__next__()


class Connection(TConn):
    """A client, and the request that it is sending."""

    arriving: Arriving

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


class Arriving:
    """A request of which perhaps not all has come. `size` is what is kept of it, in bytes."""

    def __init__(self, connection: Connection) -> None:
        self.began = time.monotonic()
        self.size = 0
        self._connection = connection
        self._parser: Parser = connection.parser
        self._kept = bytearray()
        self._request: Request | Exception | None = None
        self._missing = 1  # bytes that are still to come; of the head it is not known how many

    def take(self) -> bool:
        """Read what is there. True when a thread may have it: all has come, or nothing more will. Raises `Refused`."""
        self._add(self._parser.unreader.take_buffered())  # sent together with the request before
        while self._missing > 0:
            try:
                piece = self._connection.sock.recv(PIECE)
            except BlockingIOError:
                return False
            except OSError:
                piece = b""
            if not piece:
                break
            self._add(piece)
        self._parser.unreader.unread(bytes(self._kept))
        self._parser.held = self._request
        return True

    def _add(self, piece: bytes) -> None:
        self.size += len(piece)
        if self._request is not None:
            self._kept += piece
            self._missing -= len(piece)
            return
        searched = max(0, len(self._kept) - len(_END))
        self._kept += (
            piece if self._kept else piece.lstrip(b"\r\n")
        )  # empty lines before a request are no request (RFC 9112, 2.2)
        if self._kept.find(_END, searched) >= 0:
            self._parse()
        elif len(self._kept) > HEAD_MOST:
            raise Refused(
                "431 Request Header Fields Too Large",
                "headers_too_large",
                "The headers of the request are longer than 64 KiB; send less.",
            )

    def _parse(self) -> None:
        """The head is here: read it, and with it how much is to come."""
        self._parser.unreader.unread(bytes(self._kept))
        try:
            request = next(self._parser)
        except Exception as error:  # whatever gunicorn has against it, the thread answers
            self._request, self._missing = error, 0
            return
        self._request, self._kept = request, bytearray(self._parser.unreader.take_buffered())
        if not isinstance(request.body.reader, LengthReader):
            raise Refused(
                "411 Length Required", "length_required", "A body in chunks is not read; send it with Content-Length."
            )
        length = request.body.reader.length
        self._missing = length - len(self._kept) if length <= BODY_MOST else 0
        if self._missing > 0 and request._expected_100_continue:
            request._expected_100_continue = False
            with suppress(OSError):
                self._connection.sock.send(b"HTTP/1.1 100 Continue" + _END)


class Worker(ThreadWorker):
    """`gunicorn --worker-class config.web.Worker`."""

    grace = 20.0  # seconds within which a request has to be there,
    pace = 16 * 1024  # and for a long one a second more for each so many bytes
    silence = 20.0  # seconds after which a thread gives up a client that takes no byte of its answer
    held_most = 64 * 1024 * 1024  # bytes of unfinished requests that a process keeps
    linger_most = 2.0  # seconds for a client to read its answer before its connection is closed

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._waiting: dict[Connection, int] = {}  # the oldest first, with the bytes that are kept of each
        self._lingering: dict[Connection, float] = {}
        self._held = 0
        self._swept = 0.0

    def accept(self, listener: socket.socket) -> None:
        """A new connection."""
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE) or not self._waiting:
                raise
            self._cut_oldest()
            return
        self.nr_conns += 1
        self.enqueue_req(Connection(self, client, address, listener.getsockname()))

    def enqueue_req(self, conn: Connection) -> None:
        """A connection on which a request may begin."""
        conn.sock.setblocking(False)
        conn.arriving = Arriving(conn)
        if not self._take(conn):
            self._waiting[conn] = 0
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._more, conn))
            self._count(conn)

    def _take(self, conn: Connection) -> bool:
        """Read on; False when it has to wait for more."""
        refused = None
        try:
            if not conn.arriving.take():
                return False
        except Refused as reason:
            refused = reason
        if conn in self._waiting:
            self._forget(conn)
        if refused is not None:
            self._refuse(conn, refused)
        else:
            super().enqueue_req(conn)
        return True

    def _more(self, conn: Connection, _: socket.socket) -> None:
        """There is more of it. Who was cut in the same turn of the loop, to make room, may still be called."""
        if conn in self._waiting and not self._take(conn):
            self._count(conn)

    def _count(self, conn: Connection) -> None:
        """What is kept of it has grown; the oldest give way when it is too much, or when too many wait."""
        self._held += conn.arriving.size - self._waiting[conn]
        self._waiting[conn] = conn.arriving.size
        while self._held > self.held_most or len(self._waiting) > self.worker_connections // 2:
            self._cut_oldest()

    def _forget(self, conn: Connection) -> None:
        """It waits no longer."""
        self._held -= self._waiting.pop(conn)
        self.poller.unregister(conn.sock)

    def _cut_oldest(self) -> None:
        reason = "Too many requests arrive slowly; send it again."
        self._cut(next(iter(self._waiting)), Refused("503 Service Unavailable", "unavailable", reason))

    def _cut(self, conn: Connection, reason: Refused) -> None:
        """End one that waits; who has sent nothing has asked nothing, and is told nothing."""
        self._forget(conn)
        if conn.arriving.size:
            self._refuse(conn, reason)
        else:
            self.nr_conns -= 1
            conn.close()

    def _refuse(self, conn: Connection, reason: Refused) -> None:
        with suppress(OSError):
            conn.sock.send(reason.answer())
        self.nr_conns -= 1
        conn.close(graceful=True)

    def murder_pending(self) -> None:
        """gunicorn's name for the place where the loop ends what took too long, after every turn."""
        now = time.monotonic()
        if now < self._swept + min(0.25, self.grace / 4):
            return
        self._swept = now
        slow = Refused("408 Request Timeout", "request_timeout", "The request took too long to arrive; send it again.")
        for conn in [conn for conn in self._waiting if self._is_late(conn.arriving, now)]:
            self._cut(conn, slow)
        for conn in [conn for conn, until in self._lingering.items() if until <= now]:
            self._leave(conn)

    def _is_late(self, arriving: Arriving, now: float) -> bool:
        if not self.alive and not arriving.size:
            return True
        return now - arriving.began > self.grace + arriving.size / self.pace

    def linger(self, conn: Connection) -> bool:
        """Let a client read its answer, beside everything else; False when it is gone already, or too many do."""
        if len(self._lingering) >= self.worker_connections // 4:
            return False
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        conn.sock.setblocking(False)
        self.nr_conns += 1
        self._lingering[conn] = time.monotonic() + self.linger_most
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._discard, conn))
        return True

    def _discard(self, conn: Connection, client: socket.socket) -> None:
        with suppress(BlockingIOError):
            try:
                ended = not client.recv(PIECE)
            except ConnectionError:
                ended = True
            if ended:
                self._leave(conn)

    def _leave(self, conn: Connection) -> None:
        del self._lingering[conn]
        self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def handle_request(self, req: Request, conn: Connection) -> Any:
        """In a thread. Nothing of the request is missing; the answer may still meet a client that does not read."""
        conn.sock.settimeout(self.silence)
        try:
            return super().handle_request(req, conn)
        except TimeoutError as error:
            raise ConnectionResetError(errno.ECONNRESET, "the client takes no more of its answer") from error
