"""Where outgoing calls may go (RELIABILITY 42 to 45, MIS-03): forms of addresses, redirects, rebinding, odd answers.

The canary listens on loopback, v4 and v6. Whatever form an address takes, nothing may reach it unless its network is allowed.
"""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automations.channels import guard
from automations.channels.addresses import PORTS, Blocked, Egress, egress
from automations.channels.http import READ_LIMIT, Answer, call, check_headers, check_url, result, retry_after
from automations.engine.outcomes import Done, Failed


class Canary:
    """A receiver on loopback that counts what reaches it. `answer` may be replaced."""

    def __init__(self, family: int = socket.AF_INET, address: str = "127.0.0.1") -> None:
        self.hits: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Callable[[Any], None] = _ok
        canary = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                canary.hits.append(self.path)
                canary.headers.append(dict(self.headers.items()))
                canary.answer(self)

            do_POST = do_PUT = do_HEAD = do_GET

            def log_message(self, *_: object) -> None: ...

        class Server(ThreadingHTTPServer):
            address_family = family
            daemon_threads = True

        self.server = Server((address, 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def _ok(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "2")
    handler.end_headers()
    handler.wfile.write(b"ok")


@pytest.fixture
def canary() -> Iterator[Canary]:
    found = Canary()
    yield found
    found.close()


@pytest.fixture
def canary6() -> Iterator[Canary | None]:
    try:
        found = Canary(socket.AF_INET6, "::1")
    except OSError:  # a machine without IPv6 has no such way in
        yield None
        return
    yield found
    found.close()


_TEXT = """
http://127.0.0.1:{p}/ http://127.0.0.1:{p} http://localhost:{p}/ http://LOCALHOST:{p}/ http://localhost.:{p}/ http://127.1:{p}/ http://127.0.1:{p}/
http://2130706433:{p}/ http://0x7f000001:{p}/ http://0x7f.0.0.1:{p}/ http://0x7f.0x0.0x0.0x1:{p}/ http://0177.0.0.1:{p}/
http://0177.0000.0000.0001:{p}/ http://017700000001:{p}/ http://127.0.0.1.:{p}/ http://127.000.000.001:{p}/ http://127.8.8.8:{p}/
http://0.0.0.0:{p}/ http://0:{p}/ http://00:{p}/ http://[::1]:{p}/ http://[0:0:0:0:0:0:0:1]:{p}/ http://[::]:{p}/ http://[::ffff:127.0.0.1]:{p}/
http://[::ffff:7f00:1]:{p}/ http://[::127.0.0.1]:{p}/ http://[0000::1]:{p}/ http://[::ffff:0:127.0.0.1]:{p}/ http://[64:ff9b::127.0.0.1]:{p}/
http://[64:ff9b:1::7f00:1]:{p}/ http://[2002:7f00:1::]:{p}/ http://[2001:0:7f00:1::]:{p}/ http://[fe80::1%25lo]:{p}/ http://[fe80::1%lo]:{p}/
http://[::1%25lo]:{p}/ http://user@127.0.0.1:{p}/ http://user:pw@127.0.0.1:{p}/ http://example.com@127.0.0.1:{p}/
http://example.com:80@127.0.0.1:{p}/ http://127.0.0.1:{p}@127.0.0.1:{p}/ http://example.com\\@127.0.0.1:{p}/ http:\\\\127.0.0.1:{p}/
http:/127.0.0.1:{p}/ http:127.0.0.1:{p}/ //127.0.0.1:{p}/ http://%31%32%37.0.0.1:{p}/ http://127%2e0%2e0%2e1:{p}/ http://127.0.0.1%00.example.com:{p}/
http://127.0.0.1%09:{p}/ http://１２７.０.０.１:{p}/ http://①②⑦.⓪.⓪.①:{p}/ http://127。0。0。1:{p}/ http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:{p}/ HTTP://127.0.0.1:{p}/
https://127.0.0.1:{p}/ ftp://127.0.0.1:{p}/ file:///etc/hostname gopher://127.0.0.1:{p}/ dict://127.0.0.1:{p}/ unix:///tmp/x http+unix://%2Ftmp%2Fx/
http://169.254.169.254/latest/meta-data/ http://192.0.0.192/ http://100.100.100.200/ http://[fd00:ec2::254]/ http://10.0.0.1/ http://172.16.0.1/
http://192.168.0.1/ http://100.64.0.1/ http://198.18.0.1/ http://224.0.0.1/ http://255.255.255.255/ http://[fc00::1]/ http://[ff02::1]/
"""
FORMS = _TEXT.split()


def test_the_corpus_is_as_large_as_was_promised() -> None:
    assert len(FORMS) >= 60


@pytest.mark.parametrize("form", FORMS)
def test_no_form_of_an_address_reaches_loopback(canary: Canary, canary6: Canary | None, form: str) -> None:
    for found in (canary, canary6):
        if found is None:
            continue
        policy = Egress(ports=PORTS | {found.port})
        outcome = call("GET", form.format(p=found.port), {}, policy=policy, seconds=3)
        assert isinstance(outcome, Failed)
        assert outcome.code in ("address_not_allowed", "invalid_request", "unreachable")
        assert found.hits == []


def test_an_allowed_network_is_reached_on_any_port(canary: Canary) -> None:  # ONWARD_EGRESS_ALLOW
    outcome = call("GET", f"http://127.0.0.1:{canary.port}/x", {}, policy=Egress((ip_network("127.0.0.0/8"),)))
    assert isinstance(outcome, Answer)
    assert (outcome.status, outcome.text, canary.hits) == (200, "ok", ["/x"])


def test_the_setting_is_what_is_allowed(settings: Any) -> None:
    settings.ONWARD_EGRESS_ALLOW = (ip_network("10.1.0.0/16"),)
    egress().check(ip_address("10.1.2.3"), 9000)
    with pytest.raises(Blocked):
        egress().check(ip_address("10.2.2.3"), 80)


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "192.0.0.192", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"]
)
def test_metadata_addresses_are_never_called(address: str) -> None:
    everything = Egress((ip_network("0.0.0.0/0"), ip_network("::/0")))
    with pytest.raises(Blocked, match="metadata"):
        everything.check(ip_address(address), 80)


@pytest.mark.parametrize("port", [0, 22, 25, 5432, 6379, 8000, 8080])
def test_a_public_address_is_called_on_three_ports_only(port: int) -> None:
    with pytest.raises(Blocked, match="Port"):
        Egress().check(ip_address("93.184.216.34"), port)
    for allowed in PORTS:
        Egress().check(ip_address("93.184.216.34"), allowed)
        Egress().check(ip_address("2606:2800:220:1:248:1893:25c8:1946"), allowed)


PRIVATE = ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
           "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4")  # fmt: skip


@given(st.sampled_from(PRIVATE), st.integers(min_value=0))
def test_no_address_of_a_private_network_is_called(network: str, offset: int) -> None:
    inside = ip_network(network)
    with pytest.raises(Blocked):
        Egress().check(inside[offset % inside.num_addresses], 443)


@given(st.integers(min_value=0, max_value=2**128 - 1))
def test_ipv6_is_called_in_its_global_block_only(number: int) -> None:
    address = ip_address(number.to_bytes(16, "big"))
    if address in ip_network("2000::/3"):
        return
    with pytest.raises(Blocked):
        Egress().check(address, 443)


def _resolver(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """The system's resolver answers these, one look-up after the other; the names asked for are noted."""
    asked: list[str] = []
    left = list(answers)
    real = socket.getaddrinfo

    def resolve(host: str, port: int, *rest: Any) -> Any:
        if not str(host).endswith(".example"):
            return real(host, port, *rest)
        asked.append(host)
        found = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


def test_a_name_is_resolved_once_and_the_checked_address_is_called(
    canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    # RELIABILITY 44: an allowed address first, the canary at any later look-up
    peer = Canary(address="127.0.0.2")
    try:
        asked = _resolver(monkeypatch, ["127.0.0.2"], ["127.0.0.1"])
        policy = Egress((ip_network("127.0.0.2/32"),))
        outcome = call("GET", f"http://rebind.example:{peer.port}/", {}, policy=policy)
        assert isinstance(outcome, Answer)
        assert (peer.hits, canary.hits, asked) == (["/"], [], ["rebind.example"])
        assert peer.headers[0]["Host"] == f"rebind.example:{peer.port}"
    finally:
        peer.close()


def test_one_private_address_among_public_ones_refuses_the_name(
    canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    _resolver(monkeypatch, ["93.184.216.34", "127.0.0.1"])
    outcome = call("GET", f"http://mixed.example:{canary.port}/", {}, policy=Egress(ports=frozenset({canary.port})))
    assert isinstance(outcome, Failed)
    assert (outcome.code, canary.hits) == ("address_not_allowed", [])


def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args: release.wait(20) and [])
    monkeypatch.setattr(guard, "CONNECT_SECONDS", 0.2)
    started = time.monotonic()
    outcome = call("GET", "http://slow.example/", {}, seconds=0.3)
    release.set()
    assert isinstance(outcome, Failed)
    assert outcome.temporary
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(canary: Canary, status: int) -> None:  # RELIABILITY 43
    inside = Canary(address="127.0.0.3")

    def redirect(handler: Any) -> None:
        handler.send_response(status)
        handler.send_header("Location", f"http://127.0.0.3:{inside.port}/secret")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    canary.answer = redirect
    try:
        answer = call("GET", f"http://127.0.0.1:{canary.port}/", {}, policy=Egress((ip_network("127.0.0.0/8"),)))
        assert isinstance(answer, Answer)
        assert inside.hits == []
        outcome = result(answer)
        assert isinstance(outcome, Failed)
        assert not outcome.temporary
    finally:
        inside.close()


def test_the_environment_has_no_say(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    outcome = call("GET", "http://10.0.0.1/", {}, seconds=2)
    assert isinstance(outcome, Failed)
    assert canary.hits == []


ALLOWED = Egress((ip_network("127.0.0.0/8"),))


def test_a_slow_drip_ends_when_its_time_is_over(canary: Canary) -> None:  # RELIABILITY 28
    stop = threading.Event()

    def drip(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        while not stop.wait(0.05):
            try:
                handler.wfile.write(b".")
                handler.wfile.flush()
            except OSError:
                return

    canary.answer = drip
    started = time.monotonic()
    outcome = call("GET", f"http://127.0.0.1:{canary.port}/", {}, policy=ALLOWED, seconds=0.5)
    stop.set()
    assert isinstance(outcome, Failed)
    assert outcome.temporary
    assert time.monotonic() - started < 3


def test_an_endless_body_is_cut(canary: Canary) -> None:  # RELIABILITY 28
    def endless(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x" * 65536)
        except OSError:
            return

    canary.answer = endless
    outcome = call("GET", f"http://127.0.0.1:{canary.port}/", {}, policy=ALLOWED)
    assert isinstance(outcome, Answer)
    assert (len(outcome.body), outcome.cut) == (READ_LIMIT, True)
    settled = result(outcome)
    assert isinstance(settled, Done)
    assert len(settled.output["body"]) == 2048
    assert settled.output["truncated"] is True


def test_a_gzip_bomb_is_cut(canary: Canary) -> None:  # RELIABILITY 28
    bomb = gzip.compress(b"\0" * 50_000_000)

    def answer(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(bomb)))
        handler.end_headers()
        handler.wfile.write(bomb)

    canary.answer = answer
    outcome = call("GET", f"http://127.0.0.1:{canary.port}/", {}, policy=ALLOWED)
    assert isinstance(outcome, Answer)
    assert (len(outcome.body), outcome.cut) == (READ_LIMIT, True)
    assert "\x00" not in outcome.text


def test_a_connection_that_breaks_off_may_be_tried_again(canary: Canary) -> None:
    canary.answer = lambda handler: handler.connection.shutdown(socket.SHUT_RDWR)
    outcome = call("POST", f"http://127.0.0.1:{canary.port}/", {}, b"x", policy=ALLOWED)
    assert isinstance(outcome, Failed)
    assert outcome.temporary


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\x00b", "a\rb", "\x7f"])
def test_a_header_cannot_end_its_line(value: str) -> None:  # RELIABILITY 56
    with pytest.raises(ValueError, match="line break"):
        list(check_headers({"X-Name": value}))


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=30), max_size=3))
def test_headers_that_pass_cannot_inject(headers: dict[str, str]) -> None:  # RELIABILITY 56
    try:
        sent = list(check_headers(headers))
    except ValueError:
        return
    assert all(b"\r" not in name + value and b"\n" not in name + value and b"\0" not in value for name, value in sent)


@given(st.text(max_size=60))
def test_addresses_are_read_or_refused_and_nothing_else(text: str) -> None:
    for url in (text, f"http://{text}", f"https://example.com/{text}"):
        try:
            parsed = check_url(url)
        except Blocked:
            continue
        assert parsed.scheme in ("http", "https")
        assert parsed.host
        assert not parsed.userinfo


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120), (" 5 ", 5), ("", None), ("soon", None), ("-3", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: int | None) -> None:
    assert retry_after(text) == seconds


def test_json_is_kept_as_data_only_when_it_is_short_and_sound() -> None:
    head = {"content-type": "application/json"}
    assert Answer(200, head, b'{"a": [1, "x"]}').content == {"a": [1, "x"]}
    assert Answer(200, head, b"NaN").content == "NaN"
    assert Answer(200, head, b"[" * 2000).content == "[" * 2000
    assert Answer(200, head, b'{"a": "\\u0000"}').content == {"a": "\ufffd"}
    assert Answer(200, head, rb'{"a": "\\u0000"}').content == {"a": r"\u0000"}
    assert Answer(200, head, b'"' + b"x" * 3000 + b'"').content == '"' + "x" * 2047
    assert Answer(200, {"content-type": "text/html"}, b"<p>").content == "<p>"


def test_no_setting_opens_a_metadata_address_however_it_is_written() -> None:  # RELIABILITY 42
    from ipaddress import ip_address, ip_network

    from automations.channels.addresses import Blocked, Egress

    everything = Egress(allowed=(ip_network("0.0.0.0/0"), ip_network("::/0")))
    for address in ("169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254"):
        with pytest.raises(Blocked, match="metadata"):
            everything.check(ip_address(address), 80)
    everything.check(ip_address("::ffff:10.0.0.1"), 80)
