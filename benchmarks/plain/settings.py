"""A small Django project of its own, as one would begin it: Django, django-q2 with the ORM as broker, one app. Its tables lie in the schema
`plain` of the measured database."""

from __future__ import annotations

import os

from config.database import parse_database_url

_place = parse_database_url(os.environ.get("DATABASE_URL", "postgres://nobody@localhost/none"))
SECRET_KEY = "of a measurement"
DEBUG = False
ALLOWED_HOSTS = ["*"]
USE_TZ = True
INSTALLED_APPS = ["django_q", "benchmarks.plain"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _place.name,
        "USER": _place.user,
        "PASSWORD": _place.password,
        "HOST": _place.host,
        "PORT": _place.port,
        "CONN_MAX_AGE": 600,
        "OPTIONS": {"options": "-c search_path=plain"},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "benchmarks.plain.views"
WSGI_APPLICATION = "benchmarks.plain.wsgi.application"
Q_CLUSTER = {
    "name": "plain",
    "workers": 2,
    "orm": "default",
    "timeout": 60,
    "retry": 120,
    "label": "q",
    "log_level": "WARNING",
}
