"""The installation's settings with a short lease, so that what a dead worker held is taken over within seconds, and the charges of
the storms' own payment provider."""

from config.settings import *  # noqa: F403  # the way in which Django settings extend others
from config.settings import INSTALLED_APPS as _APPS

ONWARD_LEASE_SECONDS = 2.0
INSTALLED_APPS = [*_APPS, "tests.chaos.money.Money"]
