"""Secrets at rest are of no use without the installation's keys."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from accounts.models import Workspace
from accounts.sealed import MARK, seal, unseal
from tests.factories import make_workspace


def test_what_is_sealed_opens_and_does_not_show():  # CONTRACTS 2, RELIABILITY 5
    sealed = seal("whsec_abc")
    assert sealed.startswith(MARK)
    assert "whsec_abc" not in sealed
    assert unseal(sealed) == "whsec_abc"
    assert seal("whsec_abc") != sealed


def test_a_new_key_in_front_writes_and_the_old_one_still_reads(settings):
    settings.ONWARD_ENCRYPTION_KEYS = ("old",)
    sealed = seal("secret")
    settings.ONWARD_ENCRYPTION_KEYS = ("new", "old")
    assert unseal(sealed) == "secret"
    fresh = seal("secret")
    settings.ONWARD_ENCRYPTION_KEYS = ("new",)
    assert unseal(fresh) == "secret"
    with pytest.raises(ImproperlyConfigured, match="none of ONWARD_ENCRYPTION_KEYS"):
        unseal(sealed)


@pytest.mark.django_db
def test_the_signing_secret_lies_encrypted_in_its_row_and_reads_plain():  # X5
    workspace = make_workspace()
    secret = Workspace.objects.get(pk=workspace.pk).webhook_secret
    assert secret.startswith("whsec_")
    with connection.cursor() as cursor:
        cursor.execute("SELECT webhook_secret FROM accounts_workspace WHERE id = %s", [workspace.pk])
        stored = cursor.fetchone()[0]
    assert stored.startswith(MARK)
    assert secret not in stored
    assert Workspace.objects.filter(pk=workspace.pk).values_list("webhook_secret", flat=True).get() == secret


@pytest.mark.django_db
def test_a_saved_row_is_not_sealed_twice():
    workspace = Workspace.objects.get(pk=make_workspace().pk)
    before = workspace.webhook_secret
    workspace.save()
    workspace.refresh_from_db()
    assert workspace.webhook_secret == before
