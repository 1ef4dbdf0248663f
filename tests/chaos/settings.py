"""The installation's settings with a short lease, so that what a dead worker held is taken over within seconds."""

from config.settings import *  # noqa: F403  # the way in which Django settings extend others

ONWARD_LEASE_SECONDS = 2.0
