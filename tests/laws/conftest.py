"""The database that each law is tested on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import kedge
from tests.laws.scene import BAD, opened, release


@pytest.fixture
def k(place: str) -> Iterator[kedge.Kedge]:
    """Open a database with a settled release."""
    with opened(place) as opened_one:
        yield opened_one


@pytest.fixture
def bad(k: kedge.Kedge) -> kedge.Kedge:
    """Put a bad release live on top of it."""
    release(k, BAD)
    return k
