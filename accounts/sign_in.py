"""Signing in by e-mail address, at most five failing tries a minute and account (RELIABILITY 5)."""

from __future__ import annotations

import hashlib
from typing import Any

from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError

from accounts.api.authentication import take_token
from accounts.models import RateBucket

TRIES = 5
PER_SECOND = TRIES / 60
TOO_MANY = "Too many tries for this address; wait a minute."


class SignInForm(AdminAuthenticationForm):
    """The admin's form. Tries are counted per address whether or not somebody has it, so that counting tells nothing; they
    are counted before the password is looked at, so that trying fast is no use. A success forgets them."""

    def clean(self) -> dict[str, Any]:
        """Raises the same error for every further try until the bucket has filled a little."""
        address = str(self.cleaned_data.get("username", "")).strip().lower()
        caller = "try_" + hashlib.sha256(address.encode()).hexdigest()[:32]
        if address and not take_token(caller, per_second=PER_SECOND, burst=TRIES).allowed:
            raise ValidationError(TOO_MANY, code="too_many")
        cleaned: dict[str, Any] = super().clean()
        RateBucket.objects.filter(caller=caller).delete()
        return cleaned
