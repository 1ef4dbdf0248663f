"""WSGI entry point, served by gunicorn."""

import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()

from accounts.memory import settle_memory  # noqa: E402  # when the apps are there

get_resolver().url_patterns  # noqa: B018  # loads the views, which the first request would wait for
settle_memory(after=20_000)
