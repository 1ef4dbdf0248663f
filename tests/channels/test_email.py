"""Messages as they are built (RELIABILITY 56, CONTRACTS 9) and their text part (C-23)."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automations.channels.email import BadAddress, build, check_address
from automations.channels.plain_text import plain_text
from automations.channels.smtp import parse_server

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def message(**parts: Any) -> EmailMessage:
    values: dict[str, Any] = {
        "key": "abc.exec_1.2.0", "sender": "shop@example.com", "name": "Shop", "to": "ana@example.com", "subject": "Hi",
        "html": "<p>Hi</p>", "at": AT,
    }  # fmt: skip
    return email.message_from_bytes(build(**values | parts), policy=email.policy.default)  # type: ignore[return-value]  # of that policy


def test_the_key_is_the_left_part_of_the_message_id() -> None:
    assert message()["Message-ID"] == "<abc.exec_1.2.0@example.com>"


def test_the_same_mail_has_the_same_bytes() -> None:  # INVARIANTS O3
    first, second = (
        build(key="k", sender="a@b.example", name="", to="c@d.example", subject="é", html="<p>ü</p>", at=AT)
        for _ in range(2)
    )
    assert first == second


def test_letters_beyond_ascii_arrive() -> None:
    found = message(subject="Größe 你好 🎉", name="Café „Süd“", html="<p>Grüße</p>")
    assert found["Subject"] == "Größe 你好 🎉"
    assert found["From"].addresses[0].display_name == "Café „Süd“"
    assert found.get_body(("plain",)).get_content().strip() == "Grüße"
    assert build(key="k", sender="a@b.example", name="ü", to="c@d.example", subject="ü", html="ü", at=AT).isascii()


@pytest.mark.parametrize("part", ["subject", "name"])
@pytest.mark.parametrize("text", ["a\r\nBcc: x@y.example", "a\nb", "a\rb", "a\x00b"])
def test_a_line_break_in_a_header_is_refused(part: str, text: str) -> None:
    with pytest.raises(ValueError, match="header"):
        message(**{part: text})


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_no_text_makes_a_header_of_its_own(subject: str, name: str, to: str) -> None:
    try:
        raw = build(key="k", sender="a@b.example", name=name, to=to or "c@d.example", subject=subject, html="x", at=AT)
    except (ValueError, UnicodeError):
        return
    found = email.message_from_bytes(raw)
    wanted = {"from", "to", "subject", "date", "message-id", "mime-version", "auto-submitted", "content-type"}
    assert {name.lower() for name in found} <= wanted
    assert len(found.get_all("to") or []) == 1


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ana@example.com", "ana@example.com"),
        (" Ana.Ruiz+x@Example.COM ", "Ana.Ruiz+x@example.com"),
        ("info@bücher.example", "info@xn--bcher-kva.example"),
        ("o'neil@example.com", "o'neil@example.com"),
    ],
)
def test_addresses_are_taken_as_the_server_takes_them(text: str, address: str) -> None:
    assert check_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "ana", "@example.com", "ana@", "a@b@c", "a b@c.de", "a@b c", "a@-b.de", "a@b..de", ".a@b.de", "a.@b.de", "a..b@c.de",
     "a@b.de,c@d.de", "<a@b.de>", "Ana <a@b.de>", "a@b.de\r\nRCPT TO:<x@y.z>", 'a"b@c.de', "a@b.de>", f"{'x' * 65}@b.de",
     f"a@{'b' * 64}.de", "a@b_c.de", "a\x00@b.de"],
)  # fmt: skip
def test_anything_but_one_address_is_refused(text: str) -> None:  # ERR-10
    with pytest.raises(BadAddress):
        check_address(text)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>Hello</p><p>there</p>", "Hello\n\nthere\n"),
        ("one<br>two", "one\ntwo\n"),
        ('<a href="https://x.example/pay">Pay</a>', "Pay (https://x.example/pay)\n"),
        ('<a href="https://x.example">https://x.example</a>', "https://x.example\n"),
        ('<a href="mailto:a@b.de">a@b.de</a>', "a@b.de\n"),
        ("<ul><li>a</li><li>b</li></ul>", "- a\n- b\n"),
        ("<style>p{}</style><script>x</script><title>t</title>body", "body\n"),
        ("a &amp; b &lt;c&gt;", "a & b <c>\n"),
        ('<img src="x" alt="Logo">', "Logo\n"),
        ("  a \n\n  b  ", "a b\n"),
        ("<table><tr><td>a</td><td>b</td></tr></table>", "a b\n"),
    ],
)
def test_the_text_part_says_what_the_mail_says(html: str, text: str) -> None:
    assert plain_text(html) == text


@given(st.text(max_size=200))
def test_any_html_has_a_text_part(html: str) -> None:
    assert plain_text(html).endswith("\n")


@pytest.mark.parametrize(
    ("url", "host", "port", "user", "tls"),
    [
        ("smtp://mail.example", "mail.example", 25, "", False),
        ("smtp://me:p%40ss@mail.example", "mail.example", 587, "me", False),
        ("smtp://127.0.0.1:1025", "127.0.0.1", 1025, "", False),
        ("smtps://me:x@mail.example", "mail.example", 465, "me", True),
    ],
)
def test_the_server_is_read_from_its_address(url: str, host: str, port: int, user: str, tls: bool) -> None:
    found = parse_server(url)
    assert (found.host, found.port, found.user, found.tls) == (host, port, user, tls)
    assert found.password in ("", "p@ss", "x")
