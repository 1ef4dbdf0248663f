"""Addresses of the installation. Each app brings its own under `/api/v1/`."""

from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from accounts.api.urls import fallback
from config import health

urlpatterns: list[URLPattern | URLResolver] = [
    # First: programs ask these, and addresses are tried in turn.
    *(path("api/v1/", include(f"{app}.api.urls")) for app in ("automations", "accounts", "billing")),
    path("", RedirectView.as_view(url="/admin/")),  # until the dashboard exists
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("admin/", admin.site.urls),
]
if settings.DEBUG:  # Django's own page for unknown addresses would hide `handler404` there
    urlpatterns.append(fallback)

handler400 = "config.errors.bad_request"
handler403 = "config.errors.forbidden"
handler404 = "config.errors.not_found"
handler500 = "config.errors.server_error"
