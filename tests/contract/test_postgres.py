"""PostgreSQL joins the contract suites; and what is its own: schema, opening at once, lost connections."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kedge.backends.postgres.backend import PostgresBackend
from kedge.testing import contracts
from kedge.testing.contracts.aside import CACHE_BYTES


@pytest.fixture
def opener(postgres_url: str) -> contracts.Opener:
    return lambda: PostgresBackend(postgres_url, durability="normal", cache_bytes=CACHE_BYTES)


@pytest.fixture
def backend(opener: contracts.Opener) -> Iterator[PostgresBackend]:
    opened = opener()
    assert isinstance(opened, PostgresBackend)
    yield opened
    opened.close()


class TestControl(contracts.ControlContract):
    pass


class TestSessions(contracts.SessionContract):
    pass


class TestJournal(contracts.JournalContract):
    pass


class TestHistories(contracts.HistoryContract):
    pass


class TestVectors(contracts.VectorContract):
    pass


class TestAside(contracts.AsideContract):
    pass
