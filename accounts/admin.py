"""Registers the pages of this app in the administration (CONTRACTS 10)."""

from django.contrib import admin
from django.contrib.auth.models import Group

from accounts.adminsite import customers, records, staff
from accounts.sign_in import SignInForm

__all__ = ["customers", "records", "staff"]

admin.site.login_form = SignInForm
admin.site.unregister(Group)  # rights come from memberships and nowhere else
