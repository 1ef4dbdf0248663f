"""A faulty line to PostgreSQL: a proxy on loopback that reads the server's messages and breaks where it is told to.

It knows just enough of the protocol: a session begins with packets that have no type; after them each message of the server is
one byte of type and four of length (PostgreSQL documentation, "Message Formats"). "COMMIT" in a CommandComplete means that the
transaction is in the database for good; cutting the line before that message is passed on leaves its client not knowing it.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from contextlib import suppress

_ENCRYPTION = (80877103, 80877104)  # SSLRequest, GSSENCRequest: refused by one byte
_CANCEL = 80877102
_HEAD = 5  # bytes of type and length
_COMMIT = b"COMMIT\0"


class Link:
    """Listens on a port of its own and passes everything on to the server's socket. Faults come by its methods, from any thread."""

    def __init__(self, socket: str, chance: random.Random) -> None:
        self._socket, self._chance = socket, chance
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._clients: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cuts = 0
        self._open = asyncio.Event()
        self.port = 0
        self.delay = 0.0  # seconds by which each answer of the server comes later
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> Link:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut(self, times: int = 1) -> None:
        """Cut the line between a COMMIT and its answer, at so many of those that follow, about every third of them."""
        self._loop.call_soon_threadsafe(self._arm, times)

    def reset(self) -> None:
        """Break every connection that is open now."""
        self._loop.call_soon_threadsafe(self._abort_all)

    def swallow(self, on: bool) -> None:
        """Pass nothing on in either direction, and say nothing: a half-open line. Off: what was held back goes on."""
        self._loop.call_soon_threadsafe(self._open.clear if on else self._open.set)

    def _arm(self, times: int) -> None:
        self._cuts += times

    def _abort_all(self) -> None:
        self.counts["resets"] += len(self._clients)
        for client in self._clients:
            client.transport.abort()

    async def _listen(self) -> None:
        self._open.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=200)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._clients.add(writer)
        try:
            await self._pass_on(reader, writer)
        except asyncio.CancelledError:
            self.counts["closed"] += 1  # `_close` is the only one who cancels, and it waits for this task
        finally:
            self._tasks.discard(task)
            self._clients.discard(writer)
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = None
        try:
            first = await self._first_packet(reader, writer)
            answers, server = await asyncio.open_unix_connection(self._socket)
            server.write(first)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._to_server(reader, server))
                group.create_task(self._to_client(answers, writer))
        except* (OSError, asyncio.IncompleteReadError, _Over):
            self.counts["ended"] += 1
        finally:
            if server is not None:
                server.transport.abort()

    async def _first_packet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        while True:
            head = await reader.readexactly(8)
            length, code = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")
            if code not in _ENCRYPTION:
                return head + await reader.readexactly(length - 8)
            writer.write(b"N")

    async def _to_server(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._open.wait()
            server.write(data)
            await server.drain()
        raise _Over

    async def _to_client(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        rest = b""
        while data := await reader.read(65536):
            whole, rest, committed = split(rest + data)
            self.counts["commits"] += len(committed)
            for place in committed:
                if self._strikes():
                    client.write(whole[:place])
                    with suppress(ConnectionError):
                        await client.drain()
                    self.counts["cuts"] += 1
                    raise _Over
            await self._hold_back()
            client.write(whole)
            await client.drain()
        raise _Over

    async def _hold_back(self) -> None:
        if self.delay:
            await asyncio.sleep(self.delay)
        await self._open.wait()

    def _strikes(self) -> bool:
        if self._cuts and self._chance.random() < 1 / 3:
            self._cuts -= 1
            return True
        return False


class _Over(Exception):
    """One side is gone, so the other goes as well."""


def split(data: bytes) -> tuple[bytes, bytes, list[int]]:
    """Whole messages, the beginning of one that is not whole, and where in the first the answers to COMMIT begin."""
    place, commits = 0, []
    while len(data) - place >= _HEAD:
        end = place + 1 + int.from_bytes(data[place + 1 : place + _HEAD], "big")
        if end > len(data):
            break
        if data[place : place + 1] == b"C" and data[place + _HEAD : end] == _COMMIT:
            commits.append(place)
        place = end
    return data[:place], data[place:], commits
