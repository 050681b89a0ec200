"""Number of random histories a test: a share in `make test`, thousands in `make soak`."""

from __future__ import annotations

from hypothesis import settings

SOAKING = settings.default is settings.get_profile("soak")
SECONDS = 4 * 3600 if SOAKING else 900  # a failure is worth the minutes that it takes to shrink it


def share(histories: int) -> settings:
    """Return the settings of the profile, with this many histories unless it is the soak's."""
    return settings() if SOAKING else settings(max_examples=histories)
