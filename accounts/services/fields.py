"""What may stand in a customer's fields (CONTRACTS 8; metadata limits of REQUIREMENTS 4.2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any
from zoneinfo import available_timezones

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.text import slugify

from accounts.errors import Refusal

MOST_KEYS = 50
LONGEST_KEY = 40
LONGEST_VALUE = 500
LENGTHS = {"external_id": 200, "name": 200, "segment": 100, "plan": 100}
_LOCALE = re.compile(r"[a-z]{2,3}([-_][A-Za-z0-9]{2,8})*", re.ASCII)


class Wrong(ValueError):
    """One value is not acceptable; the text is the end of the sentence."""


@cache
def zones() -> frozenset[str]:
    """Names of time zones known to this machine."""
    return frozenset(available_timezones())


def clean_text(value: Any, longest: int) -> str:
    """Text without NUL, trimmed; None is empty."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Wrong("must be text")
    if "\x00" in value:
        raise Wrong("contains a NUL character; take it out")
    if len(value) > longest:
        raise Wrong(f"may have at most {longest} characters and has {len(value)}")
    return value.strip()


def clean_email(value: Any) -> str:
    """An e-mail address as it was written; empty for None."""
    text = clean_text(value, 254)
    if text:
        try:
            validate_email(text)
        except ValidationError:
            raise Wrong("is no e-mail address; write name@example.com") from None
    return text


def clean_country(value: Any) -> str:
    """Two letters, ISO 3166."""
    text = clean_text(value, 60).upper()
    if text and not (len(text) == 2 and text.isascii() and text.isalpha()):
        raise Wrong("must be a code of two letters, for instance DE")
    return text


def clean_zone(value: Any) -> str:
    """An IANA time zone."""
    text = clean_text(value, 60)
    if text and text not in zones():
        raise Wrong("is no time zone; write for instance Europe/Berlin")
    return text


def clean_locale(value: Any) -> str:
    """A language tag."""
    text = clean_text(value, 20)
    if text and not _LOCALE.fullmatch(text):
        raise Wrong("is no locale; write for instance en or de-AT")
    return text


def clean_metadata(value: Any) -> dict[str, str | None]:
    """Text pairs; numbers and truth values are written as text, null removes a key."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Wrong("must be an object of text pairs")
    if len(value) > MOST_KEYS * 2:
        raise Wrong(f"may have at most {MOST_KEYS} keys")
    return {_metadata_key(key): _metadata_value(key, item) for key, item in value.items()}


def _metadata_key(key: Any) -> str:
    if not isinstance(key, str) or not key or len(key) > LONGEST_KEY or "[" in key or "]" in key or "\x00" in key:
        shown = str(key)[:LONGEST_KEY]
        raise Wrong(f"has the key “{shown}”; a key has 1 to {LONGEST_KEY} characters without square brackets")
    return key


def _metadata_value(key: str, value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        if isinstance(value, (list, Mapping)):
            raise Wrong(f"has under “{key}” no text but a list or an object")
        value = str(value)
    if len(value) > LONGEST_VALUE or "\x00" in value:
        raise Wrong(f"has under “{key}” more than {LONGEST_VALUE} characters, or a NUL character")
    return value


def merge_metadata(old: Mapping[str, str], new: Mapping[str, str | None]) -> dict[str, str]:
    """The pairs after a change: given keys win, null removes. `Wrong` when there would be more than 50 (BIL-10)."""
    merged = {key: value for key, value in {**old, **new}.items() if value is not None}
    if len(merged) > MOST_KEYS:
        raise Wrong(f"may have at most {MOST_KEYS} keys and would have {len(merged)}")
    return merged


CLEANERS: dict[str, Callable[[Any], Any]] = {
    "email": clean_email,
    "country": clean_country,
    "time_zone": clean_zone,
    "locale": clean_locale,
    "metadata": clean_metadata,
    **{name: partial(clean_text, longest=longest) for name, longest in LENGTHS.items()},
}


def clean_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Acceptable values of customer fields (`CLEANERS` and `owner_id`), or one `invalid` that names all wrong ones."""
    clean: dict[str, Any] = {}
    wrong: dict[str, list[str]] = {}
    for name, value in fields.items():
        try:
            clean[name] = CLEANERS[name](value) if name in CLEANERS else _owner(name, value)
        except Wrong as error:
            wrong[camel(name)] = [str(error)]
    if wrong:
        raise refused_fields(wrong)
    return clean


def _owner(name: str, value: Any) -> Any:
    if name != "owner_id":
        raise Wrong("is no field of a customer that can be set")
    if value is not None and not isinstance(value, int):
        raise Wrong("must be a person's number or nothing")
    return value


def refused_fields(wrong: Mapping[str, list[str]]) -> Refusal:
    """`invalid`, with a sentence on the first field and all of them in the details."""
    name, messages = next(iter(wrong.items()))
    return Refusal("invalid", f"{name} {messages[0]}.", {"fields": dict(wrong)})


def camel(name: str) -> str:
    """`time_zone` is `timeZone` in JSON."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def clean_slug(value: str, what: str) -> str:
    """A slug made of a name: `At risk!` is `at-risk`. `invalid` when nothing is left or it is too long."""
    slug = slugify(value) if isinstance(value, str) else ""
    if not slug or len(slug) > 60:
        raise Refusal(
            "invalid", f"“{str(value)[:60]}” gives no {what}; use letters and digits, at most 60.", {"slug": slug}
        )
    return slug
