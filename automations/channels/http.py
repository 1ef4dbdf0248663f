"""The one client for calls to the outside over HTTP (MIS-03, ACT-04). No redirects, no environment proxies, no unix
sockets, no credentials in addresses; connect 5 s, all of it 15 s, 256 kB of the answer read (RELIABILITY 28, 42 to
45)."""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

import certifi
import httpcore
import httpx

from automations.channels.addresses import Blocked, Egress, egress
from automations.channels.guard import TOTAL_SECONDS, GuardedBackend
from automations.engine.kinds import Channel, Envelope
from automations.engine.outcomes import Done, Failed, Outcome
from automations.services.jsontext import without_nul

READ_LIMIT = 256 * 1024  # bytes of an answer that are read
KEPT = 2048  # characters of it that are kept
HEADERS_KEPT = 32
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
TEMPORARY = frozenset({408, 425, 429})

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", re.ASCII)
_FORBIDDEN = re.compile(
    "host|content-length|transfer-encoding|connection|keep-alive|upgrade|te|trailer|proxy-authorization|expect", re.I
)
_CONTROL = re.compile(r"[\x00-\x20\x7f\\]")
_UNHEARD = (httpcore.ReadTimeout, httpcore.WriteTimeout, httpcore.ReadError, httpcore.WriteError)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: at most `READ_LIMIT` bytes of the body, decoded; `cut` says that there was more."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: bool = False

    @property
    def text(self) -> str:
        """The body as text, without the character that the database cannot hold."""
        return self.body.decode("utf-8", "replace").replace("\x00", "\ufffd")

    @property
    def content(self) -> Any:
        """JSON data when it is JSON and short enough to be kept whole, else text, cut."""
        if len(self.body) <= KEPT and "json" in self.headers.get("content-type", ""):
            with contextlib.suppress(ValueError, RecursionError):
                return json.loads(without_nul(self.text), parse_constant=_no_constant)
        return self.text[:KEPT]


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def call(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes = b"",
    *,
    policy: Egress | None = None,
    seconds: float = TOTAL_SECONDS,
) -> Answer | Failed:
    """Make one call. A `Failed` when there is no answer: permanent for what cannot succeed (address not allowed,
    ill-formed header), temporary for the rest. It never says that a call had no effect: a time-out may come after the
    act."""
    try:
        target, sent = check_url(url), [*check_headers(headers)]
        with _pool(policy or egress(), seconds) as pool:
            return _exchange(pool, method, target, sent, body)
    except Blocked as error:
        return Failed("address_not_allowed", f"{error}")
    except ValueError as error:
        return Failed("invalid_request", f"{error}")
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
        return Failed("unreachable", f"{_host(url)} cannot be reached: {_words(error)}", temporary=True)
    except _UNHEARD as error:
        return Failed("no_answer", f"{_host(url)} did not answer in time: {_words(error)}", temporary=True)
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        return Failed("no_answer", f"{_host(url)} broke off: {_words(error)}", temporary=True)


def check_url(url: str) -> httpx.URL:
    """The address taken apart by the parser that is then used; `Blocked` for what no honest address contains."""
    if len(url) > 2000 or _CONTROL.search(url):
        raise Blocked("The address contains a space, a control character or a backslash, or is longer than 2,000.")
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise Blocked(f"The address cannot be read: {error}") from None
    if parsed.scheme not in ("http", "https"):
        raise Blocked("Only http and https are called.")
    if parsed.userinfo:
        raise Blocked("The address contains credentials; put them into a header.")
    if not parsed.host or "%" in parsed.host:
        raise Blocked("The address names no host, or one with a zone or percent signs.")
    return parsed


def check_headers(headers: Mapping[str, str]) -> Iterator[tuple[bytes, bytes]]:
    """Headers as bytes; `ValueError` for a name or value that could end the line or steer the connection (RELIABILITY
    56)."""
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or _FORBIDDEN.fullmatch(name):
            raise ValueError(f"“{name[:60]}” cannot be used as a header.")
        if len(value) > 8000 or any((ord(sign) < 32 and sign != "\t") or ord(sign) == 127 for sign in value):
            raise ValueError(f"The header “{name}” contains a line break or control character, or is too long.")
        yield name.encode("ascii"), value.encode("utf-8")


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certifi.where())


def _pool(policy: Egress, seconds: float) -> httpcore.ConnectionPool:
    # One connection a call: one that was kept could break for reasons that have nothing to do with this call.
    backend = GuardedBackend(policy, total=seconds)
    return httpcore.ConnectionPool(ssl_context=_tls(), max_connections=1, retries=0, network_backend=backend)


def _exchange(
    pool: httpcore.ConnectionPool, method: str, url: httpx.URL, headers: Iterable[tuple[bytes, bytes]], body: bytes
) -> Answer:
    own = [(b"Host", url.netloc), (b"Accept-Encoding", b"identity"), (b"Connection", b"close")]
    if body or method in ("POST", "PUT", "PATCH"):
        own.append((b"Content-Length", str(len(body)).encode()))
    target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    with pool.stream(method, target, headers=[*own, *headers], content=body or None) as response:
        heads = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        raw, cut = _read(response.iter_stream())
        return Answer(response.status, heads, *_decoded(raw, cut, heads.get("content-encoding", "")))


def _read(chunks: Iterable[bytes]) -> tuple[bytes, bool]:
    found = bytearray()
    for chunk in chunks:
        found += chunk
        if len(found) > READ_LIMIT:
            return bytes(found[:READ_LIMIT]), True
    return bytes(found), False


def _decoded(raw: bytes, cut: bool, encoding: str) -> tuple[bytes, bool]:
    """Undo a compression that was not asked for, never beyond the limit."""
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return raw, cut
    inflate = zlib.decompressobj(47)
    try:
        text = inflate.decompress(raw, READ_LIMIT)
    except zlib.error:
        return raw, cut
    return text, cut or bool(inflate.unconsumed_tail)


def result(answer: Answer) -> Outcome:
    """2xx is `Done` with `{status, headers, body}`; anything else failed, for a while (408, 425, 429, 5xx) or for good.
    A redirect is a failure: it is not followed."""
    output = {
        "status": answer.status,
        "headers": dict(list(_kept_headers(answer))[:HEADERS_KEPT]),
        "body": answer.content,
        **({"truncated": True} if answer.cut or len(answer.body) > KEPT else {}),
    }
    if 200 <= answer.status < 300:
        return Done(output)
    temporary = answer.status in TEMPORARY or answer.status >= 500
    details: dict[str, Any] = {"status": answer.status, "body": answer.text[:KEPT]}
    wait = retry_after(answer.headers.get("retry-after", ""))
    if wait is not None:
        details["retryAfter"] = wait
    return Failed("http_status", f"The receiver answered {answer.status}.", temporary, details)


def _kept_headers(answer: Answer) -> Iterator[tuple[str, str]]:
    for name, value in answer.headers.items():
        if name != "set-cookie":
            yield name, value[:500].replace("\x00", "")


def retry_after(text: str) -> int | None:
    """Seconds that a `Retry-After` asks for, given as a number or as a date; None when there is none that can be
    read."""
    if text.strip().isdecimal():
        return int(text.strip()[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return max(int((moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()), 0)


def _host(url: str) -> str:
    with contextlib.suppress(httpx.InvalidURL, ValueError):
        return httpx.URL(url).host or "the receiver"
    return "the receiver"


def _words(error: Exception) -> str:
    return str(error)[:200].replace("\x00", "") or type(error).__name__


class HttpChannel(Channel):
    """Calls what the envelope's body names: `method`, `url`, `headers`; the bytes are the request's body."""

    kind = "http"

    def send(self, envelope: Envelope, key: str, body: bytes) -> Outcome:
        """One call with the delivery's key as its `Idempotency-Key`."""
        written = {name: value for name, value in envelope.body["headers"].items() if name.lower() != "idempotency-key"}
        if not any(name.lower() == "user-agent" for name in written):
            written["User-Agent"] = "Onward"
        answer = call(envelope.body["method"], envelope.body["url"], written | {"Idempotency-Key": key}, body)
        return answer if isinstance(answer, Failed) else result(answer)


http = HttpChannel()
