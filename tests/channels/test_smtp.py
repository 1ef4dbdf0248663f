"""The conversation with the mail server: sign-in, encryption, refusals at each step (RELIABILITY 29, ERR-10)."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from automations.channels import smtp
from automations.channels.smtp import Server, hand_over
from automations.engine.outcomes import Done, Failed, Outcome, Unknown

MAIL = b"Subject: hello\r\n\r\nbody\r\n"


class Inbox:
    """Keeps mails; answers by step are given in `says`."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []
        self.says: dict[str, str] = {}
        self.encrypted = False

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        if "mail" not in self.says:
            envelope.mail_from = address
        return self.says.get("mail", "250 OK")

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        if "rcpt" not in self.says:
            envelope.rcpt_tos.append(address)
        return self.says.get("rcpt", "250 OK")

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.encrypted = session.ssl is not None
        self.mails.append(envelope.content)
        return self.says.get("data", "250 queued as 1")


def authenticator(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    good = getattr(data, "login", b"") == b"me" and getattr(data, "password", b"") == b"right"
    return AuthResult(success=good, handled=False)


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def plain(inbox: Inbox) -> Iterator[Server]:
    yield from _served(inbox)


@pytest.fixture
def guarded(inbox: Inbox) -> Iterator[Server]:
    yield from _served(inbox, authenticator=authenticator, auth_required=True, auth_require_tls=False)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 signed by itself, with its key, in one folder. No key is kept in the checkout for it."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def encrypting(inbox: Inbox, certificate: Path) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    yield from _served(inbox, tls_context=context)


def _served(inbox: Inbox, **options: Any) -> Iterator[Server]:
    controller = Controller(inbox, hostname="127.0.0.1", port=_port(), **options)
    controller.start()
    yield Server("127.0.0.1", controller.port)
    smtp.close_all()
    controller.stop()


def send(server: Server, **parts: Any) -> Outcome:
    return hand_over(
        server, parts.get("sender", "a@b.example"), parts.get("to", "c@d.example"), parts.get("mail", MAIL)
    )


def test_a_mail_is_taken(plain: Server, inbox: Inbox) -> None:
    outcome = send(plain)
    assert isinstance(outcome, Done)
    assert outcome.output["answer"] == "queued as 1"
    assert inbox.mails == [MAIL]


@pytest.mark.parametrize(
    ("step", "answer", "code", "temporary"),
    [
        ("mail", "550 not you", "sender_refused", False),
        ("mail", "451 busy", "sender_refused", True),
        ("rcpt", "550 nobody here", "recipient_refused", False),
        ("rcpt", "452 full", "recipient_refused", True),
        ("data", "554 spam", "mail_refused", False),
        ("data", "451 later", "mail_refused", True),
    ],
)
def test_each_refusal_is_known_for_what_it_is(
    plain: Server, inbox: Inbox, step: str, answer: str, code: str, temporary: bool
) -> None:
    inbox.says = {step: answer}
    outcome = send(plain)
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.temporary) == (code, temporary)
    assert answer.split(" ", 1)[1] in outcome.message
    assert outcome.details["status"] == int(answer[:3])


def test_after_a_refusal_the_connection_serves_the_next_mail(plain: Server, inbox: Inbox) -> None:
    inbox.says = {"rcpt": "550 nobody"}
    send(plain)
    inbox.says = {}
    assert isinstance(send(plain), Done)


def test_sign_in(guarded: Server, inbox: Inbox) -> None:
    right = Server(guarded.host, guarded.port, "me", "right")
    assert isinstance(send(right), Done)
    assert len(inbox.mails) == 1


def test_a_wrong_password_is_not_tried_again(guarded: Server, inbox: Inbox) -> None:  # ERR-10: refused configuration
    outcome = send(Server(guarded.host, guarded.port, "me", "wrong"))
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.temporary, inbox.mails) == ("mail_server_login", False, [])
    assert "wrong" not in outcome.message


def test_encryption_that_is_demanded_and_not_offered_sends_nothing(plain: Server, inbox: Inbox) -> None:
    outcome = send(Server(plain.host, plain.port, starttls="always"))
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.temporary, inbox.mails) == ("mail_server_settings", False, [])


def test_encryption_is_used_where_it_is_offered(
    encrypting: Server, inbox: Inbox, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "_tls", lambda: ssl.create_default_context(cafile=str(certificate / "cert.pem")))
    assert isinstance(send(encrypting), Done)
    assert inbox.encrypted


def test_a_certificate_that_nobody_vouches_for_is_refused(encrypting: Server, inbox: Inbox) -> None:
    outcome = send(encrypting)
    assert isinstance(outcome, Failed)
    assert (outcome.temporary, inbox.mails) == (True, [])


def test_encryption_that_is_switched_off_is_not_used(encrypting: Server, inbox: Inbox) -> None:
    assert isinstance(send(Server(encrypting.host, encrypting.port, starttls="never")), Done)
    assert not inbox.encrypted


def test_a_server_that_is_away_is_tried_again_later() -> None:
    outcome = send(Server("127.0.0.1", _port()))
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.temporary) == ("mail_server", True)


def _scripted(lines: list[bytes | None]) -> tuple[Server, threading.Thread]:
    """A server that says these lines, one for each that it hears; None closes the connection."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listening, listening.accept()[0] as peer, peer.makefile("rb") as heard:
            for line in lines:
                if line is None:
                    return
                peer.sendall(line)
                if line.startswith(b"354"):
                    while heard.readline() not in (b".\r\n", b""):
                        pass
                else:
                    heard.readline()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return Server("127.0.0.1", listening.getsockname()[1]), thread


def test_silence_after_the_mail_is_unknown() -> None:  # RELIABILITY 29
    server, thread = _scripted([b"220 hi\r\n", b"250 hi\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", None])
    outcome = send(server)
    thread.join(5)
    assert isinstance(outcome, Unknown)


def test_silence_before_the_mail_is_a_failure_that_may_be_repeated() -> None:
    server, thread = _scripted([b"220 hi\r\n", b"250 hi\r\n", b"250 ok\r\n", None])
    outcome = send(server)
    thread.join(5)
    assert isinstance(outcome, Failed)
    assert outcome.temporary


def test_letters_beyond_ascii_in_an_address_need_a_server_that_takes_them() -> None:
    server, _thread = _scripted([b"220 hi\r\n", b"250 hi\r\n", b"221 bye\r\n", None])
    outcome = send(server, to="jürgen@d.example")
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.temporary) == ("address_not_supported", False)


def test_a_server_that_takes_them_gets_them(plain: Server, inbox: Inbox) -> None:
    assert isinstance(send(plain, to="jürgen@d.example"), Done)
