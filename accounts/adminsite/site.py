"""The administration's site: pages stand where staff look for them, not under the apps that hold their tables."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest

#: Parts of the menu, in order. A page says by `section` where it belongs; what says nothing is machinery.
SECTIONS = ("Automations", "Customers", "Billing", "Settings", "Machinery")
LAST = 1000


class OnwardSite(AdminSite):
    """Each page may have `section`, `place` in it (small numbers first), `title` and `about`, one line that says what it holds."""

    site_header = "Onward"
    site_title = "Onward"
    index_title = "Operations"
    site_url = None  # there is no other site to view yet; the address / leads here

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """The menu. With a label only that app, as Django orders it (its own page)."""
        found: list[Any] = super().get_app_list(request, app_label)
        if app_label is not None:
            return [{**app, "models": [self._described(model) for model in app["models"]]} for app in found]
        models = [self._described(model) for app in found for model in app["models"]]
        models.sort(key=lambda model: (model["place"], model["name"]))
        return [part for name in SECTIONS if (part := _section(name, models))["models"]]

    def _described(self, model: Any) -> Any:
        page = self._registry[model["model"]]
        return {
            **model,
            "name": getattr(page, "title", "") or model["name"],
            "section": getattr(page, "section", SECTIONS[-1]),
            "place": getattr(page, "place", LAST),
            "about": getattr(page, "about", ""),
        }


def _section(name: str, models: list[Any]) -> dict[str, Any]:
    return {
        "name": name,
        "app_label": name.lower(),
        "app_url": "",
        "has_module_perms": True,
        "models": [model for model in models if model["section"] == name],
    }
