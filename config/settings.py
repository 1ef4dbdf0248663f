"""Django settings, made of the environment alone (README, table of variables). `config.environment` checks it."""

from __future__ import annotations

import sys
from pathlib import Path

from config.database import connection_settings, process_kind
from config.environment import process_environment
from config.folder import Keys, new_keys, read_keys
from config.log import logging_settings
from config.queue import queue_settings
from config.start import data_folder, embedded_cluster, keys_needed, under_tests

BASE_DIR = Path(__file__).resolve().parent.parent
_env = process_environment(keys_needed=keys_needed())
_cluster = embedded_cluster(_env)
TESTING = under_tests()
_kind = process_kind(sys.argv)
# Where no pages are served, Django's own DEBUG would only record every query of a worker.
DEBUG = _env.onward_debug and _kind == "web"
# TLS ends at a proxy in front (README, Operations). An operator who names a plain http address has none.
SECURE = not (_env.onward_debug or TESTING or _env.onward_base_url.startswith("http://"))

# Keys: the operator's, else those of the data folder. A command that needs neither database nor folder gets passing ones.
_kept = Keys(
    "t" * 10 + "esting-only" * 5, "q" * 10 + "ueue-testing" * 5, ("dGVzdGluZy1vbmx5LXRlc3Rpbmctb25seS10ZXN0aW4=",)
)
if not TESTING:
    _kept = read_keys(data_folder(_env)) or new_keys()
SECRET_KEY = _env.onward_secret_key or _kept.secret
ONWARD_QUEUE_KEY = _env.onward_queue_key or _kept.queue
ONWARD_ENCRYPTION_KEYS = _env.onward_encryption_keys or _kept.encryption

ALLOWED_HOSTS = [*_env.onward_allowed_hosts]
if _env.onward_debug or TESTING:
    ALLOWED_HOSTS += ["127.0.0.1", "localhost", "[::1]", "testserver"]

ONWARD_DATA = data_folder(_env)
ONWARD_PORT = _env.port
ONWARD_BIND = _env.onward_bind
_here = f"http://127.0.0.1:{_env.port}" if _env.onward_debug or TESTING else ""
ONWARD_BASE_URL = _env.onward_base_url.rstrip("/") or _here
ONWARD_SMTP_URL = _env.onward_smtp_url
ONWARD_STARTTLS = _env.onward_starttls
ONWARD_PASS_MINUTES = _env.onward_pass_minutes
ONWARD_WORKERS = _env.onward_workers
ONWARD_WEB_WORKERS = _env.onward_web_workers
ONWARD_WAKE = _env.onward_wake
ONWARD_TICKER = _env.onward_ticker
ONWARD_ALLOW_CLOCK = _env.onward_allow_clock or TESTING
ONWARD_EGRESS_ALLOW = _env.onward_egress_allow
ONWARD_WORKSPACE = _env.onward_workspace
ONWARD_RETENTION_DAYS = _env.onward_retention_days
ONWARD_CONTENT_DAYS = min(90, _env.onward_retention_days)
ONWARD_METRICS_TOKEN = _env.onward_metrics_token
ONWARD_CHROMIUM = _env.onward_chromium

INSTALLED_APPS = [
    "config",  # before django_q: its `qcluster` command is ours
    "accounts.adminsite.apps.AdministrationConfig",  # Django's own admin, with our site
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_q",
    "accounts",
    "automations",
    "billing",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "config.headers.HeadersMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.browsers.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "config.browsers.CsrfViewMiddleware",
    "config.browsers.AuthenticationMiddleware",
    "config.sessions.SessionLimitsMiddleware",
    "config.browsers.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

_database = _cluster.database() if _cluster else _env.database_url
assert _database is not None
DATABASES = {"default": connection_settings(_database, _kind)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
Q_CLUSTER = queue_settings(_env)

AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}", **options}
    for name, options in {
        "UserAttributeSimilarityValidator": {},
        "MinimumLengthValidator": {"OPTIONS": {"min_length": 12}},
        "CommonPasswordValidator": {},
        "NumericPasswordValidator": {},
    }.items()
]
# Tests make many users; a slow hash would prove nothing there.
_HASHERS = ["MD5PasswordHasher"] if TESTING else ["Argon2PasswordHasher", "PBKDF2PasswordHasher"]
PASSWORD_HASHERS = [f"django.contrib.auth.hashers.{name}" for name in _HASHERS]
LOGIN_URL = "/admin/login/"

SESSION_ENGINE = "django.contrib.sessions.backends.db"
SESSION_COOKIE_AGE = 12 * 3600  # seconds without use; `config.sessions` ends it after seven days in any case
SESSION_COOKIE_NAME = "__Host-session" if SECURE else "session"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE
CSRF_COOKIE_NAME = "__Host-csrf" if SECURE else "csrf"
CSRF_TRUSTED_ORIGINS = [ONWARD_BASE_URL] if SECURE and ONWARD_BASE_URL else []

SECURE_SSL_REDIRECT = SECURE
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]  # asked by probes inside, without TLS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if SECURE else None
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if SECURE else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# W021 wants consent to the browsers' preload list, which is the operator's to give for a whole domain. W003 looks for the name of Django's
# CSRF middleware, whose subclass in `config.browsers` is in the list.
SILENCED_SYSTEM_CHECKS = ["security.W021", "security.W003"]

DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 1024 * 1024  # DESIGN 6: a request

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-gb"
STATIC_URL = "/static/"
STATIC_ROOT = (
    BASE_DIR / "staticfiles" if SECURE else None
)  # `collectstatic` fills it; elsewhere files are served as they lie
STATICFILES_DIRS = [folder for folder in (BASE_DIR / "static",) if folder.is_dir()]
_STATIC = "whitenoise.storage.CompressedManifestStaticFilesStorage"
if not SECURE:  # the manifest exists after `collectstatic` only
    _STATIC = "django.contrib.staticfiles.storage.StaticFilesStorage"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": _STATIC},
}
WHITENOISE_USE_FINDERS = not SECURE
LOGGING = logging_settings(_env.onward_log, as_json=SECURE)

REST_FRAMEWORK = {
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.api.authentication.KeyAuthentication",
        "accounts.api.authentication.BrowserAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.api.permissions.ScopePermission"],
    "DEFAULT_THROTTLE_CLASSES": ["accounts.api.throttling.KeyThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["accounts.api.rendering.AnswerRenderer"],
    "EXCEPTION_HANDLER": "accounts.api.exceptions.handle_exception",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Onward",
    "VERSION": "1",
    "DESCRIPTION": "Automations for billing and the customer life cycle.",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PUBLIC": True,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [],  # choices stay where they are used: names made for shared ones would collide
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}
