"""Production settings: `check --deploy` is clean, cookies and transport are strict (RELIABILITY 5)."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from config.environment import CHECKOUT
from tests.config.conftest import manage, plain_environment

KEY = "production-key-0123456789-" * 3
PRODUCTION = {
    "DATABASE_URL": "postgres://onward@127.0.0.1:1/onward",  # never asked
    "ONWARD_SECRET_KEY": KEY,
    "ONWARD_QUEUE_KEY": KEY + "q",
    "ONWARD_ENCRYPTION_KEYS": "a2V5",
    "ONWARD_ALLOWED_HOSTS": "onward.example",
    "ONWARD_BASE_URL": "https://onward.example",
}
SHOW = """
import json, django
django.setup()
from django.conf import settings
from django_q.conf import Conf
names = ["DEBUG", "ALLOWED_HOSTS", "SESSION_COOKIE_NAME", "CSRF_COOKIE_NAME", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE",
    "SESSION_COOKIE_HTTPONLY", "SESSION_COOKIE_AGE", "SESSION_COOKIE_SAMESITE", "SECURE_HSTS_SECONDS", "PASSWORD_HASHERS",
    "ONWARD_ALLOW_CLOCK", "CSRF_TRUSTED_ORIGINS", "ONWARD_SMTP_URL", "SECURE_SSL_REDIRECT"]
print(json.dumps({name: getattr(settings, name) for name in names} | {"queue": Conf.SECRET_KEY}))
"""


def shown(**variables: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        cwd=CHECKOUT,
        env=plain_environment(DJANGO_SETTINGS_MODULE="config.settings", **variables),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def production() -> dict[str, object]:
    return shown(**PRODUCTION)


def test_the_deployment_check_is_clean() -> None:
    done = manage("check", "--deploy", "--fail-level", "INFO", **PRODUCTION)
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


def test_cookies_are_bound_to_the_host_and_to_tls(production: dict[str, object]) -> None:
    assert (production["SESSION_COOKIE_NAME"], production["CSRF_COOKIE_NAME"]) == ("__Host-session", "__Host-csrf")
    for name in ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SESSION_COOKIE_HTTPONLY", "SECURE_SSL_REDIRECT"):
        assert production[name] is True, name
    assert production["SESSION_COOKIE_AGE"] == 12 * 3600
    assert production["SECURE_HSTS_SECONDS"] == 365 * 24 * 3600


def test_passwords_are_hashed_with_argon2(production: dict[str, object]) -> None:
    hashers = production["PASSWORD_HASHERS"]
    assert isinstance(hashers, list)
    assert hashers[0].endswith("Argon2PasswordHasher")


def test_the_queue_has_a_key_of_its_own(production: dict[str, object]) -> None:
    assert production["queue"] == KEY + "q"


def test_nothing_of_development_is_on(production: dict[str, object]) -> None:
    assert production["DEBUG"] is False
    assert production["ONWARD_ALLOW_CLOCK"] is False
    assert production["ALLOWED_HOSTS"] == ["onward.example"]
    assert production["CSRF_TRUSTED_ORIGINS"] == ["https://onward.example"]
    assert production["ONWARD_SMTP_URL"] == ""


def test_an_operator_without_tls_says_so_by_the_address() -> None:
    found = shown(**{**PRODUCTION, "ONWARD_BASE_URL": "http://onward.internal"})
    assert found["SECURE_SSL_REDIRECT"] is False
    assert found["SESSION_COOKIE_NAME"] == "session"


def test_debug_records_no_queries_where_no_pages_are_served() -> None:
    """Django's DEBUG in a worker would keep every query it made."""
    assert shown(ONWARD_DEBUG="1", DATABASE_URL=PRODUCTION["DATABASE_URL"])["DEBUG"] is False


def test_without_keys_nothing_starts_beside_a_real_database() -> None:
    done = manage("check", DATABASE_URL=PRODUCTION["DATABASE_URL"])
    assert done.returncode == 2
    assert done.stderr.count("missing. With DATABASE_URL and without ONWARD_DEBUG it must be given.") == 3


def test_debug_answers_this_machine_only_unless_told() -> None:
    assert shown(ONWARD_DEBUG="1", DATABASE_URL=PRODUCTION["DATABASE_URL"])["ALLOWED_HOSTS"] == [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "testserver",
    ]
