"""Secrets at rest: encrypted with the installation's keys, readable only through the model (CONTRACTS 2, `ONWARD_ENCRYPTION_KEYS`).

The first key writes, all read, so a key is replaced by putting a new one in front. What the database holds is useless without them.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models

MARK = "sealed:"


@lru_cache(maxsize=8)
def _box(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest())) for key in keys])


def seal(text: str) -> str:
    """The text, encrypted with the first key."""
    return MARK + _box(tuple(settings.ONWARD_ENCRYPTION_KEYS)).encrypt(text.encode()).decode()


def unseal(stored: str) -> str:
    """The text that `seal` encrypted. Raises `ImproperlyConfigured` when none of the keys opens it."""
    try:
        return _box(tuple(settings.ONWARD_ENCRYPTION_KEYS)).decrypt(stored.removeprefix(MARK).encode()).decode()
    except InvalidToken:
        message = "A stored secret opens with none of ONWARD_ENCRYPTION_KEYS; add the key that it was written with."
        raise ImproperlyConfigured(message) from None


class SealedField(models.TextField):
    """A text that the database holds encrypted. It cannot be searched for."""

    def get_prep_value(self, value: Any) -> Any:
        """Encrypt on the way in."""
        return value if value is None or str(value).startswith(MARK) else seal(str(value))

    def from_db_value(self, value: str | None, *_: object) -> str | None:
        """Decrypt on the way out."""
        return None if value is None else unseal(value)
