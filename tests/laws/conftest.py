"""The database that each law is tested on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import kedge
from tests.laws.scene import BAD, opened, release


@pytest.fixture
def k(tmp_path: Path) -> Iterator[kedge.Kedge]:
    """Open a database with a settled release."""
    with opened(tmp_path) as opened_one:
        yield opened_one


@pytest.fixture
def bad(k: kedge.Kedge) -> kedge.Kedge:
    """Put a bad release live on top of it."""
    release(k, BAD)
    return k
