"""Logs: one JSON object a line in production, plain text in development; never local variables, never secrets (STACK 5)."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any

ORDINARY = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
SECRET_NAME = re.compile(r"password|secret|token|authorization|cookie|api_?key", re.IGNORECASE)
SECRET_VALUE = re.compile(r"\bow_[A-Za-z0-9]+_[A-Za-z0-9_-]+|(?<=://)[^\s/@:]+:[^\s/@]+(?=@)")


def clean(text: str) -> str:
    """The text without API keys and without the login of an address."""
    return SECRET_VALUE.sub("[removed]", text)


class JsonFormatter(logging.Formatter):
    """`{"at", "level", "logger", "message", ...extra}`; a newline cannot forge a line, since JSON escapes it."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in ORDINARY and key != "request"}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return clean(json.dumps({key: _hidden(key, value) for key, value in line.items()}, default=str))


class PlainFormatter(logging.Formatter):
    """The same for reading in a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, logger, message; a traceback below it."""
        return clean(super().format(record))


def logging_settings(level: str, *, as_json: bool) -> dict[str, Any]:
    """Django's `LOGGING`: everything to standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {"()": "config.log.JsonFormatter"},
            "plain": {"()": "config.log.PlainFormatter", "format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json" if as_json else "plain"}},
        "root": {"handlers": ["stderr"], "level": level.upper()},
        "loggers": {
            "django": {"handlers": [], "level": level.upper(), "propagate": True},
            "django.server": {"handlers": [], "propagate": True},
            "django-q": {"handlers": [], "level": "DEBUG" if level == "debug" else "WARNING", "propagate": True},
            "mail.log": {"level": "WARNING"},  # the mailbox: each line of each conversation
            "httpx": {"level": "WARNING"},  # it logs addresses, which may hold tokens
            "httpcore": {"level": "WARNING"},
        },
    }


def _hidden(key: str, value: Any) -> Any:
    return "[removed]" if SECRET_NAME.search(key) else value
