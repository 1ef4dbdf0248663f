"""The installation's settings with an action that misbehaves, and with little patience for a worker that hangs."""

from config.settings import *  # noqa: F403  # the way in which Django settings extend others
from config.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.isolation.misbehaving.Installed"]
ONWARD_STUCK_SECONDS = 5.0  # a busy machine leaves a worker without its turn for seconds
ONWARD_LEASE_SECONDS = 2.0
