"""Logs carry no secrets, no local variables, and one line per record."""

from __future__ import annotations

import json
import logging

import pytest

from config.log import JsonFormatter, PlainFormatter, logging_settings


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    return logging.getLogger("x").makeRecord("onward", logging.INFO, __file__, 1, message, args, None, extra=extra)


def test_a_record_is_one_json_object_a_line() -> None:
    line = JsonFormatter().format(record("first\nsecond %s", 7, run=456))
    assert "\n" not in line
    found = json.loads(line)
    assert (found["message"], found["run"], found["level"], found["logger"]) == (
        "first\nsecond 7",
        456,
        "info",
        "onward",
    )
    assert found["at"].endswith("Z")


@pytest.mark.parametrize("formatter", [JsonFormatter(), PlainFormatter("%(message)s")])
def test_keys_and_logins_are_removed_from_messages(formatter: logging.Formatter) -> None:
    text = formatter.format(record("key ow_abc123_SeCrEt-value for postgres://ana:hush@db/x"))
    assert "SeCrEt" not in text
    assert "hush" not in text
    assert "db/x" in text


@pytest.mark.parametrize("name", ["password", "api_key", "Authorization", "session_cookie", "clientSecret"])
def test_fields_that_are_named_like_secrets_are_removed(name: str) -> None:
    assert json.loads(JsonFormatter().format(record("x", **{name: "hush"})))[name] == "[removed]"


def test_a_traceback_shows_no_local_variables() -> None:
    hushed = "hush" + "-hush"
    try:
        raise ValueError("broken")
    except ValueError:
        import sys

        found = record("failed")
        found.exc_info = sys.exc_info()
    text = json.loads(JsonFormatter().format(found))["traceback"]
    assert "ValueError: broken" in text
    assert hushed not in text


def test_debug_of_the_queue_only_when_asked() -> None:
    assert logging_settings("info", as_json=True)["loggers"]["django-q"]["level"] == "WARNING"
    assert logging_settings("debug", as_json=True)["loggers"]["django-q"]["level"] == "DEBUG"
    assert logging_settings("info", as_json=False)["handlers"]["stderr"]["formatter"] == "plain"
