"""The in-memory vector engine joins the vector contract, through the real journal and control record of SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kedge.backends.sqlite.backend import SqliteBackend
from kedge.ports.clock import SystemClock
from kedge.testing import contracts
from kedge.testing.contracts.cache import CACHE_BYTES
from kedge.testing.memory_vectors import MemoryVectors


@pytest.fixture
def opener(tmp_path: Path) -> contracts.Opener:
    engine = MemoryVectors().engine
    path = tmp_path / "kedge.db"
    return lambda: SqliteBackend(path, SystemClock(), durability="normal", cache_bytes=CACHE_BYTES, engine=engine)


@pytest.fixture
def backend(opener: contracts.Opener) -> Iterator[SqliteBackend]:
    opened = opener()
    assert isinstance(opened, SqliteBackend)
    yield opened
    opened.close()


class TestVectors(contracts.VectorContract):
    pass


@pytest.mark.skip(reason="the in-memory engine has no compaction: it keeps no file")
class TestCompaction(contracts.CompactionContract):
    pass
