"""The catch-all mail server: what was accepted is a file, and can be read by command."""

from __future__ import annotations

import smtplib
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from config.environment import CHECKOUT
from config.mailbox import Mailbox
from tests.config.conftest import plain_environment


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def mail(subject: str = "Hello", text: str = "Grüße\n") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "mara@northwind.example", "ana@example.com", subject
    message.set_content(text)
    message.add_alternative(f"<p>{text}</p>", subtype="html")
    return message


def send(port: int, message: EmailMessage, to: str = "ana@example.com") -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as server:
        server.send_message(message, to_addrs=[to])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mailbox, int]]:
    """A mailbox as `make up` starts it: a process of its own."""
    folder, port = tmp_path_factory.mktemp("data"), free_port()
    process = subprocess.Popen(
        [sys.executable, str(CHECKOUT / "manage.py"), "mailbox", "serve", "--port", str(port)],
        env=plain_environment(ONWARD_DATA=str(folder)),
        stderr=subprocess.PIPE,
    )
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=0.1).close()
            break
        except OSError:
            continue
    yield Mailbox(folder), port
    process.terminate()
    assert process.wait(timeout=10) == 0


class TestServing:
    def test_an_accepted_mail_is_a_file_with_its_envelope(self, served: tuple[Mailbox, int]) -> None:
        mailbox, port = served
        send(port, mail("Payment failed"), to="hidden@example.com")
        kept = mailbox.mails()[-1].message()
        assert kept["Subject"] == "Payment failed"
        assert (kept["X-Envelope-From"], kept["X-Envelope-To"]) == ("mara@northwind.example", "hidden@example.com")
        body = kept.get_body(("plain",))
        assert isinstance(body, EmailMessage)
        assert body.get_content().splitlines() == ["Grüße"]

    def test_mails_at_once_get_a_number_each(self, served: tuple[Mailbox, int]) -> None:
        mailbox, port = served
        before = len(mailbox.mails())
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: send(port, mail(f"mail {n}")), range(24)))
        kept = mailbox.mails()
        assert [item.number for item in kept] == list(range(1, before + 25))
        assert {item.message()["Subject"] for item in kept[before:]} == {f"mail {n}" for n in range(24)}

    def test_only_this_machine_can_reach_it(self, served: tuple[Mailbox, int]) -> None:
        _, port = served
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.2", port), timeout=2)

    def test_a_taken_port_is_named(self, served: tuple[Mailbox, int]) -> None:
        with pytest.raises(CommandError, match=f"Port {served[1]} on 127.0.0.1 cannot be used"):
            call_command("mailbox", "serve", port=served[1])


class TestReading:
    @pytest.fixture
    def mailbox(self, tmp_path: Path, settings: Settings) -> Mailbox:
        settings.ONWARD_DATA = tmp_path
        return Mailbox(tmp_path)

    def output(self, *arguments: str) -> str:
        out = StringIO()
        call_command("mailbox", *arguments, stdout=out)
        return out.getvalue()

    def test_an_empty_mailbox_says_so(self, mailbox: Mailbox) -> None:
        assert self.output("list") == f"No mail yet in {settings.ONWARD_DATA}.\n"

    def test_the_list_names_number_recipient_and_subject(self, mailbox: Mailbox) -> None:
        for number in range(1, 12):
            mailbox.keep("a@b", ["c@d"], mail(f"subject {number}").as_bytes())
        lines = self.output("list").splitlines()
        assert len(lines) == 11
        assert lines[9].split()[0] == "10"  # in order of arrival, not of text
        assert "ana@example.com" in lines[0]
        assert "subject 1" in lines[0]

    def test_one_is_shown_with_headers_and_text(self, mailbox: Mailbox) -> None:
        mailbox.keep("a@b", ["c@d"], mail("One").as_bytes())
        shown = self.output("show", "1")
        assert "Subject: One" in shown
        assert "Grüße" in shown
        assert "<p>" not in shown

    @pytest.mark.parametrize(("arguments", "said"), [(("show", "7"), "There is no mail 7"), (("show",), "Which one")])
    def test_a_mail_that_is_not_there(self, mailbox: Mailbox, arguments: tuple[str, ...], said: str) -> None:
        with pytest.raises(CommandError, match=said):
            self.output(*arguments)

    def test_a_half_written_file_is_no_mail(self, mailbox: Mailbox) -> None:
        mailbox.keep("a@b", ["c@d"], b"Subject: x\r\n\r\n")
        (mailbox.folder / "2.part").write_bytes(b"Subject")
        assert [item.number for item in mailbox.mails()] == [1]
