"""The administration as an installed app: Django's own, with our site in place of the default one."""

from __future__ import annotations

from django.contrib.admin.apps import AdminConfig


class AdministrationConfig(AdminConfig):
    """Named in INSTALLED_APPS in place of `django.contrib.admin`."""

    default_site = "accounts.adminsite.site.OnwardSite"
