"""A request as it comes in, piece by piece, read without waiting, by gunicorn's own parser (RELIABILITY 41)."""

from __future__ import annotations

import io
import json
import time
from contextlib import suppress
from typing import Any

from gunicorn.http.body import Body, LengthReader
from gunicorn.http.errors import NoMoreData
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser

PIECE = 64 * 1024  # bytes read from a connection at once
PIECES = 16  # read from one connection before the others have their turn
HEAD_MOST = 64 * 1024  # bytes of a request's head
BODY_MOST = 8 * 1024 * 1024  # bytes of its body; DATA_UPLOAD_MAX_MEMORY_SIZE
BLANK_MOST = 64  # bytes of empty lines before a request
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


class Arriving:
    """A request of which perhaps not all has come. `size` is what is kept of it, in bytes."""

    def __init__(self, connection: Any) -> None:
        self.began = time.monotonic()
        self._connection = connection
        self._parser: Parser = connection.parser
        self._kept = bytearray()
        self._read = self._blank = 0  # bytes that were read from `_kept`, and of empty lines before it
        self._request: Request | Exception | None = None
        self._missing = 1  # bytes that are still to come; of the head it is not known how many

    @property
    def size(self) -> int:
        """Nothing when nothing was asked yet."""
        return self._read + len(self._kept)

    def take(self) -> bool:
        """Read what is there. True when a thread may have it: all has come, or nothing more will. Raises `Refused`."""
        self._add(self._parser.unreader.take_buffered())  # sent together with the request before
        for _ in range(PIECES):
            if self._missing <= 0:
                break
            try:
                piece = self._connection.sock.recv(PIECE)
            except BlockingIOError:
                return False
            except OSError:
                piece = b""
            if not piece:
                self._request = NoMoreData(bytes(self._kept[:100]))
                break
            self._add(piece)
        else:
            return self._missing <= 0 and self._give()
        return self._give()

    def _give(self) -> bool:
        if isinstance(self._request, Request):
            length = (
                len(self._kept) + self._missing
            )  # what is missing is less than nothing when the next request has begun
            self._request.body = Body(io.BytesIO(self._kept[:length]))
            self._parser.unreader.unread(bytes(self._kept[length:]))
        self._read, self._kept = self.size, bytearray()
        self._parser.held = self._request
        return True

    def _add(self, piece: bytes) -> None:
        if self._request is not None:
            self._kept += piece
            self._missing -= len(piece)
            return
        if not self._kept:
            piece = self._without_blank(piece)
        searched = max(0, len(self._kept) - len(_END))
        self._kept += piece
        if self._kept.find(_END, searched) >= 0:
            self._parse()
        elif len(self._kept) > HEAD_MOST:
            reason = "The headers of the request are longer than 64 KiB; send less."
            raise Refused("431 Request Header Fields Too Large", "headers_too_large", reason)

    def _without_blank(self, piece: bytes) -> bytes:
        """Empty lines before a request are no request (RFC 9112, 2.2)."""
        rest = piece.lstrip(b"\r\n")
        self._blank += len(piece) - len(rest)
        if self._blank > BLANK_MOST:
            raise Refused("400 Bad Request", "malformed", "There are empty lines in the place of a request.")
        return rest

    def _parse(self) -> None:
        """The head is here: read it, and with it how much is to come."""
        self._parser.unreader.unread(bytes(self._kept))
        try:
            request = next(self._parser)
        except Exception as error:  # whatever gunicorn has against it, the thread answers
            self._request, self._missing = error, 0
            return
        rest = bytearray(self._parser.unreader.take_buffered())
        self._request, self._read, self._kept = request, len(self._kept) - len(rest), rest
        if not isinstance(request.body.reader, LengthReader):
            raise Refused(
                "411 Length Required", "length_required", "A body in chunks is not read; send it with Content-Length."
            )
        length = request.body.reader.length
        if length > BODY_MOST:
            raise Refused("413 Content Too Large", "too_large", "The body is larger than 8 MiB; send less.")
        self._missing = length - len(rest)
        if self._missing > 0 and request._expected_100_continue:
            with suppress(OSError):
                self._connection.sock.send(b"HTTP/1.1 100 Continue" + _END)
        request._expected_100_continue = False
