"""Middleware that browsers need and programs do not. A request with an API key is nobody's session: no cookie of it is read or written,
and it passes these by (PERFORMANCE W6). Who may do what is not decided here: REST asks the key (`accounts.api.authentication`), and views
that are not exempt from the CSRF check are checked whatever the header says."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import middleware as auth
from django.contrib.messages import middleware as messages
from django.contrib.sessions import middleware as sessions
from django.http import HttpRequest
from django.middleware import csrf
from django.utils.deprecation import MiddlewareMixin

from accounts.api.keys import carries_key


class _ForBrowsers(MiddlewareMixin):
    """Before one of Django's in the list of bases."""

    def __call__(self, request: HttpRequest) -> Any:
        """Straight on for a request to the REST interface that carries a key."""
        return self.get_response(request) if carries_key(request) else super().__call__(request)


class SessionMiddleware(_ForBrowsers, sessions.SessionMiddleware):
    """Django's, for browsers."""


class CsrfViewMiddleware(_ForBrowsers, csrf.CsrfViewMiddleware):
    """Django's, for browsers; its check before a view stays for all."""


class AuthenticationMiddleware(_ForBrowsers, auth.AuthenticationMiddleware):
    """Django's, for browsers."""


class MessageMiddleware(_ForBrowsers, messages.MessageMiddleware):
    """Django's, for browsers."""
