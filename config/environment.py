"""The environment, read once: every variable of the README's table, all that is wrong named at once (CONTRACTS 2)."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from django.core.exceptions import ImproperlyConfigured
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from config.database import Database, parse_database_url

CHECKOUT = Path(__file__).resolve().parent.parent
BROKER_PACKAGES = {"redis": "redis", "rediss": "redis", "sqs": "boto3"}
Words = Annotated[tuple[str, ...], Field(default=())]


class Environment(BaseModel):
    """What the operator may set. Field names are the lower-case names of the variables; the README's table lists them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database_url: Database | None = Field(None, description="a real PostgreSQL 15+")
    port: int = Field(8000, ge=1, le=65535)
    onward_bind: str = "127.0.0.1"
    onward_data: Path | None = None
    onward_test_data: Path | None = None
    onward_secret_key: str = ""
    onward_queue_key: str = ""
    onward_encryption_keys: Words
    onward_debug: bool = False
    onward_allowed_hosts: Words
    onward_base_url: str = Field("", pattern=r"^(https?://[^/\s]+)?/?$")
    onward_smtp_url: str = Field("", pattern=r"^(smtps?://\S+)?$")
    onward_starttls: Literal["auto", "always", "never"] = "auto"
    onward_pass_minutes: int = Field(5, ge=1, le=60)
    onward_workers: int = Field(2, ge=1, le=64)
    onward_web_workers: int = Field(2, ge=1, le=64)
    onward_wake: bool = True
    onward_ticker: bool = True
    onward_allow_clock: bool = False
    onward_egress_allow: tuple[IPv4Network | IPv6Network, ...] = ()
    onward_broker_url: str = Field("", pattern=r"^((redis|rediss)://\S+|sqs://[a-z0-9-]+)?$")
    onward_workspace: str = ""
    onward_retention_days: int = Field(400, ge=31)
    onward_chromium: str = ""
    onward_metrics_token: str = ""
    onward_log: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("database_url", mode="before")
    @classmethod
    def _database(cls, text: str) -> Database:
        return parse_database_url(text)

    @field_validator("onward_egress_allow", mode="before")
    @classmethod
    def _networks(cls, text: str) -> list[Any]:
        return [ip_network(word) for word in _words(text)]

    @field_validator("onward_allowed_hosts", "onward_encryption_keys", mode="before")
    @classmethod
    def _lists(cls, text: str) -> list[str]:
        return list(_words(text))

    @field_validator("onward_data", "onward_test_data", mode="after")
    @classmethod
    def _outside_checkout(cls, folder: Path) -> Path:
        folder = folder.expanduser().absolute()
        if folder == CHECKOUT or CHECKOUT in folder.parents:
            raise ValueError(f"the data folder must not lie in the checkout {CHECKOUT}")
        return folder

    @field_validator("onward_broker_url", mode="after")
    @classmethod
    def _package_there(cls, url: str) -> str:
        package = BROKER_PACKAGES.get(url.partition("://")[0])
        if package and find_spec(package) is None:
            raise ValueError(f"needs the package {package}: .venv/bin/pip install {package}")
        return url

    @field_validator("onward_secret_key", "onward_queue_key", mode="after")
    @classmethod
    def _long_enough(cls, key: str) -> str:
        if len(key) < 50 or len(set(key)) < 5:
            raise ValueError("must be 50 random characters or more")
        return key


def variable_names() -> list[str]:
    """The names of all variables, as they stand in the environment."""
    return [name.upper() for name in Environment.model_fields]


def read_environment(variables: Mapping[str, str], *, keys_needed: bool) -> Environment:
    """The checked environment. Empty variables count as unset.

    `keys_needed`: whether the three keys must be given when `DATABASE_URL` is (outside debug and tests they must).
    Raises ImproperlyConfigured with one line for each wrong, unknown or missing variable.
    """
    given = {name: variables[name] for name in variable_names() if variables.get(name, "").strip()}
    problems = [*_unknown(variables)]
    environment = None
    try:
        environment = Environment.model_validate({name.lower(): value for name, value in given.items()})
    except ValidationError as error:
        problems += [f"{str(item['loc'][0]).upper()}: {_sentence(item)}" for item in error.errors()]
    if keys_needed and "DATABASE_URL" in given and not _truthy(given.get("ONWARD_DEBUG", "")):
        problems += [
            f"{name}: missing. With DATABASE_URL and without ONWARD_DEBUG it must be given."
            for name in ("ONWARD_SECRET_KEY", "ONWARD_QUEUE_KEY", "ONWARD_ENCRYPTION_KEYS")
            if name not in given
        ]
    if problems or environment is None:
        raise ImproperlyConfigured("The environment cannot be used:\n" + "\n".join(f"  {line}" for line in problems))
    return environment


def _unknown(variables: Mapping[str, str]) -> Iterable[str]:
    known = variable_names()
    for name in sorted(variables):
        if name.startswith("ONWARD_") and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            yield f"{name}: unknown." + (f" Did you mean {near[0]}?" if near else "")


def _sentence(item: Mapping[str, Any]) -> str:
    """What is wrong, with the value except where it may hold a secret."""
    message = str(item["msg"]).removeprefix("Value error, ")
    secret = any(part in str(item["loc"][0]) for part in ("key", "url", "token"))
    return f"{message[:1].lower()}{message[1:]}" + ("." if secret else f" (it is {str(item['input'])!r}).")


def _truthy(text: str) -> bool:
    return text.strip().lower() in {"1", "true", "yes", "on", "t", "y"}


def _words(text: str) -> Iterable[str]:
    return (word.strip() for word in text.split(",") if word.strip())


def process_environment(variables: Mapping[str, str] | None = None, *, keys_needed: bool) -> Environment:
    """`read_environment` of this process."""
    return read_environment(os.environ if variables is None else variables, keys_needed=keys_needed)
