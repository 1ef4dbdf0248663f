"""The load of W6: `wrk` where the machine has it, else a driver of our own in a process of its own; the same for all sides.

`python -m benchmarks.load URL SECONDS SIZE TAG KEY...` is our own one: a connection for each key, each with one request at a time. It
prints JSON: requests, answers other than 202, seconds, its own processor time, latencies in milliseconds."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
PEOPLE = 1_000  # customers that events are about
EVENT = '{{"id":"{id}","name":"thing_happened","customer":{{"externalId":"{customer}"}},"payload":{{"amount":12,"plan":"pro","seats":3}}}}'
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_SCRIPT = """
local keys, size, tag, count = {{{keys}}}, {size}, "{tag}", 0
local function event(number)
  return '{{"id":"' .. tag .. '-' .. number .. '","name":"thing_happened","customer":{{"externalId":"' .. (1 + number % {people}) ..
    '"}},"payload":{{"amount":12,"plan":"pro","seats":3}}}}'
end
function request()
  local key, body = keys[1 + count % #keys], nil
  if size == 1 then body = event(count) else
    local events = {{}}
    for place = 1, size do events[place] = event(count * size + place) end
    body = '{{"events":[' .. table.concat(events, ",") .. ']}}'
  end
  count = count + 1
  return wrk.format("POST", nil, {{["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. key}}, body)
end
"""


def driver() -> str:
    """Which one is used, in words."""
    return "wrk" if shutil.which("wrk") else "own driver (the machine has no wrk)"


def drive(address: str, seconds: float, size: int, tag: str, keys: list[str]) -> dict[str, float]:
    """Post events for so long, `size` a request, over as many connections as there are keys. Ids begin with `tag`. Answers what the driver
    counted; `cpu` is what it cost itself."""
    before = _children_cpu()
    found = (_wrk if shutil.which("wrk") else _own)(f"{address}/api/v1/events", seconds, size, tag, keys)
    return {**found, "cpu": _children_cpu() - before}


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _own(url: str, seconds: float, size: int, tag: str, keys: list[str]) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.load", url, str(seconds), str(size), tag, *keys]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, check=True, text=True
    )
    return dict(json.loads(done.stdout))


def _wrk(url: str, seconds: float, size: int, tag: str, keys: list[str]) -> dict[str, float]:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        quoted = ",".join(f'"{key}"' for key in keys)
        file.write(_SCRIPT.format(keys=quoted, size=size, tag=tag, people=PEOPLE))
        file.flush()
        length = max(1, round(seconds))
        command = ["wrk", "-t1", f"-c{len(keys)}", f"-d{length}s", "--latency", "-s", file.name, url]
        text = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    return read_wrk(text)


def read_wrk(text: str) -> dict[str, float]:
    """What `wrk --latency` says."""
    done = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s)", text)
    if done is None:
        raise ValueError(f"wrk said something unknown: {text}")
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    socket_errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    errors = int(bad[1]) if bad else 0
    errors += sum(map(int, socket_errors.groups())) if socket_errors else 0
    return {
        "requests": float(done[1]),
        "errors": float(errors),
        "seconds": float(done[2]) * _UNITS[done[3]] / 1000,
        "p50": _latency(text, 50),
        "p99": _latency(text, 99),
    }


def _latency(text: str, part: int) -> float:
    found = re.search(rf"{part}%\s+([\d.]+)(us|ms|s)", text)
    return float(found[1]) * _UNITS[found[2]] if found else 0.0


class Connection:
    """One keep-alive connection, one request at a time."""

    def __init__(self, url: str, key: str) -> None:
        self._place = urlsplit(url)
        self._head = (
            f"POST {self._place.path} HTTP/1.1\r\nHost: {self._place.netloc}\r\nAuthorization: Bearer {key}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        )
        self._socket: socket.socket | None = None

    def post(self, body: str) -> int:
        """The status of the answer."""
        if self._socket is None:
            self._socket = socket.create_connection((self._place.hostname or "", self._place.port or 80), timeout=30)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(f"{self._head}{len(body)}\r\n\r\n{body}".encode())
        return self._read()

    def _read(self) -> int:
        assert self._socket is not None
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
        while len(body) < length:
            body += self._more()
        if b"connection: close" in lines:
            self._socket.close()
            self._socket = None
        return int(lines[0].split()[1])

    def _more(self) -> bytes:
        assert self._socket is not None
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the server hung up in the middle of an answer")
        return data


def _post_for(connection: Connection, end: float, size: int, tag: str, taken: list[float], bad: list[int]) -> None:
    number = 0
    while time.perf_counter() < end:
        body = _body(size, tag, number)
        number += 1
        started = time.perf_counter()
        status = connection.post(body)
        taken.append((time.perf_counter() - started) * 1000)
        if status != 202:
            bad.append(status)


def _body(size: int, tag: str, number: int) -> str:
    events = [
        EVENT.format(id=f"{tag}-{place}", customer=1 + place % PEOPLE)
        for place in range(number * size, number * size + size)
    ]
    return events[0] if size == 1 else f'{{"events":[{",".join(events)}]}}'


def main() -> None:
    """Our own driver."""
    url, seconds, size, tag, *keys = sys.argv[1:]
    taken: list[float] = []
    bad: list[int] = []
    started = time.perf_counter()
    with ThreadPoolExecutor(len(keys)) as threads:
        posting = [
            threads.submit(
                _post_for, Connection(url, key), started + float(seconds), int(size), f"{tag}-{place}", taken, bad
            )
            for place, key in enumerate(keys)
        ]
    for done in posting:
        done.result()
    passed = time.perf_counter() - started
    taken.sort()
    middle, late = taken[len(taken) // 2], taken[int(len(taken) * 0.99)]
    print(
        json.dumps({"requests": len(taken), "errors": len(bad), "seconds": passed, "p50": middle, "p99": late}),
        flush=True,
    )


if __name__ == "__main__":
    main()
