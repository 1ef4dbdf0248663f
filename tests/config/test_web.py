"""A client that sends slowly holds no thread of the web server, and is cut (RELIABILITY 41). Over real sockets, byte by byte."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
from django.conf import settings as product
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.api.bodies import MOST_BYTES
from config.arriving import BLANK_MOST, BODY_MOST, HEAD_MOST
from tests.config.web_site import THREADS, Site, is_closed, read, request

MANY = 5 * THREADS
BEGUN = request(b"x" * 100)[:-50]  # its body is half there


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Shared: nothing that a client does may hurt the next one."""
    found = Site()
    yield found
    said = found.end()
    assert said.count("Traceback") == said.count("TimeoutError: timed out"), said  # clients that do not read


@pytest.fixture(scope="module")
def patient() -> Iterator[Site]:
    """As it is in production: it waits for 20 seconds."""
    found = Site("config.web.Worker")
    yield found
    assert "Traceback" not in found.end()


@pytest.fixture
def hurried(site: Site) -> Iterator[socket.socket]:
    with site.connect() as found:
        yield found


@pytest.fixture
def client(patient: Site) -> Iterator[socket.socket]:
    with patient.connect() as found:
        yield found


class TestOthersGoOn:
    @pytest.mark.parametrize(
        "begun", [b"", b"G", BEGUN[:30], BEGUN], ids=["nothing", "a letter", "half a head", "half a body"]
    )
    def test_beside_more_unfinished_requests_than_threads(self, patient: Site, begun: bytes) -> None:
        clients = [patient.connect() for _ in range(MANY)]
        for client in clients:
            client.sendall(begun)
        assert [patient.ask("/other")["path"] for _ in range(MANY)] == ["/other"] * MANY
        for client in clients:  # and none of them was forgotten
            client.sendall(request(b"x" * 100)[len(begun) :])
            assert read(client)[1]["length"] == 100
            client.close()

    def test_beside_clients_that_keep_a_connection_after_its_last_answer(self, patient: Site) -> None:
        for _ in range(MANY):
            client = patient.connect()
            client.sendall(request(head="Connection: close\r\n"))
            read(client)
        began = time.monotonic()
        assert patient.ask("/other")["path"] == "/other"
        assert time.monotonic() - began < MANY, "gunicorn's own close waits two seconds for each"

    def test_beside_clients_that_do_not_read_their_answers(self, site: Site) -> None:
        clients = [site.connect() for _ in range(THREADS)]
        for client in clients:
            client.sendall(request(path="/large"))
        assert site.ask("/other")["path"] == "/other"


class TestCut:
    def test_who_sends_a_byte_now_and_then_is_told_and_cut(self, hurried: socket.socket) -> None:
        hurried.sendall(BEGUN)
        try:
            for _ in range(20):
                hurried.sendall(b"x")
                time.sleep(0.1)
        except ConnectionError:
            pass
        else:
            assert read(hurried)[0] == "408 Request Timeout"

    @pytest.mark.parametrize("begun", [BEGUN, BEGUN[:30]], ids=["body", "head"])
    def test_who_stops_is_told_why(self, hurried: socket.socket, begun: bytes) -> None:
        hurried.sendall(begun)
        status, answer = read(hurried)
        assert (status, answer["code"], answer["details"]) == ("408 Request Timeout", "request_timeout", {})
        assert is_closed(hurried)

    def test_who_asks_nothing_is_told_nothing(self, hurried: socket.socket) -> None:
        assert is_closed(hurried)

    def test_a_long_body_has_longer(self, hurried: socket.socket) -> None:
        """A second more for each so many bytes: who keeps the pace is let through."""
        body = b"x" * 250_000
        hurried.sendall(request(body)[: -len(body)])
        for begin in range(0, len(body), 50_000):
            hurried.sendall(body[begin : begin + 50_000])
            time.sleep(0.25)
        assert read(hurried)[1]["length"] == len(body)

    def test_too_much_that_is_unfinished_costs_the_largest(self, site: Site) -> None:
        begun = request(b"x" * 200_000)[:-1]
        with site.connect() as first, site.connect() as second:
            first.sendall(begun)
            site.ask()
            second.sendall(begun)
            assert read(first)[0] == "503 Service Unavailable"
            second.sendall(b"x")
            assert read(second)[1]["length"] == 200_000

    def test_too_many_that_are_unfinished_cost_the_oldest(self, site: Site) -> None:
        clients = []
        for _ in range(60):  # half of 40 may wait
            clients.append(site.connect())
            clients[-1].sendall(BEGUN)
        assert read(clients[0])[0] == "503 Service Unavailable"
        assert site.ask("/other")["path"] == "/other"


class TestWholeRequests:
    def test_one_after_the_other_on_a_connection(self, patient: Site, client: socket.socket) -> None:
        assert [patient.ask(f"/{number}", client)["path"] for number in range(5)] == [
            f"/{number}" for number in range(5)
        ]

    def test_several_at_once(self, client: socket.socket) -> None:
        client.sendall(request(b"one", "/a") + request(path="/b") + request(b"three", "/c") + request(path="/d")[:-9])
        answers = [read(client)[1] for _ in range(3)]
        assert [(answer["path"], answer["body"]) for answer in answers] == [("/a", "one"), ("/b", ""), ("/c", "three")]
        client.sendall(request(path="/d")[-9:])
        assert read(client)[1]["path"] == "/d"

    def test_byte_by_byte(self, client: socket.socket) -> None:
        for byte in request(b'{"name": "signup"}', "/events"):
            client.sendall(bytes([byte]))
        assert read(client)[1] == {"method": "POST", "path": "/events", "length": 18, "body": '{"name": "signup"}'}

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        bodies=st.lists(st.binary(max_size=300), min_size=1, max_size=4),
        cuts=st.lists(st.integers(0, 2_000), max_size=8),
    )
    def test_however_they_are_cut_into_pieces(self, patient: Site, bodies: list[bytes], cuts: list[int]) -> None:
        sent = b"".join(request(body, f"/{number}") for number, body in enumerate(bodies))
        places = sorted({0, len(sent), *(cut % len(sent) for cut in cuts)})
        with patient.connect() as client:
            for begin, end in pairwise(places):
                client.sendall(sent[begin:end])
            answers = [read(client)[1] for _ in bodies]
        assert [(answer["path"], answer["length"]) for answer in answers] == [
            (f"/{number}", len(body)) for number, body in enumerate(bodies)
        ]

    def test_empty_lines_before_one(self, client: socket.socket) -> None:
        client.sendall(b"\r\n\r\n" + request(path="/a"))
        assert read(client)[1]["path"] == "/a"

    def test_a_client_that_asks_first_is_told_to_go_on(self, client: socket.socket) -> None:
        sent = request(b"x" * 1_000, head="Expect: 100-continue\r\n")
        client.sendall(sent[:-1_000])
        assert read(client)[0] == "100 Continue"
        client.sendall(sent[-1_000:])
        assert read(client)[1]["length"] == 1_000

    def test_the_longest_body(self, client: socket.socket) -> None:
        assert BODY_MOST == product.DATA_UPLOAD_MAX_MEMORY_SIZE == MOST_BYTES  # three that must not part
        client.sendall(request(b"x" * BODY_MOST))
        assert read(client)[1]["length"] == BODY_MOST


class TestRefused:
    def test_a_body_in_chunks_which_django_would_take_for_none(self, client: socket.socket) -> None:
        client.sendall(request(head="Transfer-Encoding: chunked\r\n") + b"3\r\nabc\r\n0\r\n\r\n")
        status, answer = read(client)
        assert (status, answer["code"]) == ("411 Length Required", "length_required")
        assert is_closed(client)

    def test_a_head_without_end(self, client: socket.socket) -> None:
        client.sendall(request()[:-2] + b"X-Long: " + b"x" * (HEAD_MOST + 1))
        assert read(client)[0] == "431 Request Header Fields Too Large"

    def test_a_body_longer_than_any_that_is_accepted(self, client: socket.socket) -> None:
        """At its head: nobody reads it, and no thread waits for it."""
        client.sendall(request(b"x")[:-1].replace(b"Length: 1", f"Length: {BODY_MOST + 1}".encode()))
        status, answer = read(client)
        assert (status, answer["code"]) == ("413 Content Too Large", "too_large")

    def test_empty_lines_in_the_place_of_one(self, client: socket.socket) -> None:
        client.sendall(b"\r\n" * BLANK_MOST)
        assert read(client)[0] == "400 Bad Request"

    @pytest.mark.parametrize("sent", [request(b"amount=100")[:-2], request()[:-5]], ids=["body", "head"])
    def test_half_a_request_at_the_end_of_a_connection_is_none(self, client: socket.socket, sent: bytes) -> None:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        assert is_closed(client)

    @pytest.mark.parametrize(
        "head",
        [
            b"NONSENSE\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
            b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        ],
    )
    def test_what_is_no_request(self, client: socket.socket, head: bytes) -> None:
        client.sendall(head)
        assert read(client)[0] == "400 Bad Request"
        assert is_closed(client)


class TestClientsThatGo:
    @pytest.mark.parametrize("begun", [b"", BEGUN[:30], BEGUN, request(path="/slow")])
    def test_at_any_moment(self, patient: Site, begun: bytes) -> None:
        for _ in range(MANY):
            client = patient.connect()
            client.sendall(begun)
            client.close()
        assert patient.ask("/other")["path"] == "/other"

    def test_by_a_reset(self, patient: Site) -> None:
        for begun in [b"", BEGUN, request(path="/slow"), request(head="Connection: close\r\n")]:
            client = patient.connect()
            client.sendall(begun)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            client.close()
        assert patient.ask("/other")["path"] == "/other"


class TestMemory:
    def test_answered_connections_keep_nothing(self, patient: Site) -> None:
        clients = [patient.connect() for _ in range(2 * MANY)]
        for client in clients:
            client.sendall(request(b"x" * BODY_MOST))
            read(client)
        kept = patient.memory()
        for client in clients:
            assert patient.ask("/again", client)["path"] == "/again"
            client.close()
        assert kept < MANY * BODY_MOST, f"{kept:,} bytes"

    def test_whole_requests_that_wait_for_a_thread_are_counted(self, site: Site) -> None:
        """They are refused when they are too much together; small ones pass."""
        busy = [site.connect() for _ in range(THREADS)]
        for client in busy:
            client.sendall(request(path="/slow"))
        clients = [site.connect() for _ in range(4)]
        for client in clients:
            client.sendall(request(b"x" * 100_000))
        assert site.ask("/small")["path"] == "/small"
        assert sorted(read(client)[0] for client in clients) == ["200 OK"] * 2 + ["503 Service Unavailable"] * 2


@pytest.mark.parametrize("option", [["--certfile", __file__], ["--proxy-protocol", "auto"], ["--protocol", "uwsgi"]])
def test_what_it_does_not_speak_is_refused_at_the_start(option: list[str]) -> None:
    with pytest.raises(AssertionError, match="plain HTTP/1"):
        Site("config.web.Worker", more=option)


def test_what_is_under_way_is_answered_when_the_server_ends() -> None:  # RELIABILITY 10
    site = Site("config.web.Worker")
    with site.connect() as silent, site.connect() as begun, site.connect() as asked:
        silent.sendall(b"")
        begun.sendall(BEGUN)
        asked.sendall(request(path="/slow"))
        site.ask()
        site.process.terminate()
        assert is_closed(silent), "who has asked nothing keeps nobody waiting"
        begun.sendall(b"x" * 50)
        assert read(begun)[1]["length"] == 100
        assert read(asked)[1]["path"] == "/slow"
    assert "Traceback" not in site.end()
