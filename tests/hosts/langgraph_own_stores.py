"""Stores that stand in for `SqliteStore` and `PostgresStore`, sync and async, in the suites of their packages."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self

import kedge
from kedge.integrations.embedding import embedder_artifact
from kedge.integrations.langgraph import KedgeStore

opened = ExitStack()  # what a test has opened; the fixture `databases` closes it
known: dict[str, kedge.Kedge] = {}  # by the address that the test gives
_numbers = itertools.count(1)


def _database(address: str) -> kedge.Kedge:
    if address not in known or address == ":memory:":
        place = Path(opened.enter_context(tempfile.TemporaryDirectory())) / "kedge.db"
        known[address] = opened.enter_context(kedge.open(f"sqlite:///{place}", durability="normal"))
        known[address].deploy("v1", {"graph/prompt": "one"})
        known[address].promote("v1")
        if os.environ.get("KEDGE_CANARY"):
            known[address].deploy("v2", {"graph/prompt": "two"}, canary=1.0)
    return known[address]


class _Cursor:
    """Takes their SQL, which changes nothing here: extensions, and tables of migrations."""

    def execute(self, *_: object) -> None: ...


class _Store(KedgeStore):
    MIGRATIONS = ()

    @classmethod
    def _of(cls, address: str, index: Mapping[str, Any] | None, ttl: Mapping[str, Any] | None) -> Any:
        k = _database(address)
        if index is not None:  # `text_fields` is how SqliteStore names what the contract calls `fields`
            index = {**index, "fields": index.get("text_fields") or index.get("fields")}
            name = f"embedder-{next(_numbers)}"
            k.deploy(name, {"shared/embedder": embedder_artifact(index["embed"])})
            k.promote(name)
        return STORES[os.environ["KEDGE_STORE"]][issubclass(cls, Async)](k, agent="graph", index=index, ttl=ttl)


class Sync(_Store):
    """In place of the sync ones."""

    @classmethod
    @contextmanager
    def from_conn_string(cls, address: str, *, index: Any = None, ttl: Any = None, **_: object) -> Iterator[Any]:
        yield cls._of(address, index, ttl)

    def setup(self) -> None: ...

    def start_ttl_sweeper(self) -> None: ...

    def stop_ttl_sweeper(self) -> None: ...

    @contextmanager
    def _cursor(self) -> Iterator[_Cursor]:
        yield _Cursor()


class Async(_Store):
    """In place of the async ones."""

    @classmethod
    @asynccontextmanager
    async def from_conn_string(
        cls, address: str, *, index: Any = None, ttl: Any = None, **_: object
    ) -> AsyncIterator[Any]:
        yield cls._of(address, index, ttl)

    async def setup(self) -> None: ...

    async def start_ttl_sweeper(self) -> None: ...

    async def stop_ttl_sweeper(self) -> None: ...

    async def sweep_ttl(self) -> int:  # type: ignore[override]  # as theirs
        return int(super().sweep_ttl())

    @asynccontextmanager
    async def _cursor(self) -> AsyncIterator[Any]:
        yield _AsyncCursor()


class _AsyncCursor:
    async def execute(self, *_: object) -> None: ...


class _KeepsExpired:
    """A mutant: nothing expires."""

    def _write_items(self, turn: Any, work: Any) -> None:
        work.puts = {name: op._replace(ttl=None) for name, op in work.puts.items()}
        super()._write_items(turn, work)  # type: ignore[misc]


class _IgnoresFilters:
    """A mutant: a search without a query returns what does not pass its filter, too."""

    def _search(self, turn: Any, op: Any, work: Any) -> Any:
        return super()._search(turn, op if op.query else op._replace(filter=None), work)  # type: ignore[misc]


def _both(mutant: type) -> tuple[Any, Any]:
    return type(mutant.__name__, (mutant, Sync), {}), type(mutant.__name__, (mutant, Async), {})


STORES = {"KedgeStore": (Sync, Async), "KeepsExpired": _both(_KeepsExpired), "IgnoresFilters": _both(_IgnoresFilters)}


class Nowhere:
    """A connection of psycopg that makes and drops no database. Sync and async."""

    @classmethod
    def connect(cls, *_: object, **__: object) -> Nowhere:
        return cls()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def execute(self, *_: object) -> None: ...


class AsyncNowhere:
    """The async one."""

    @classmethod
    async def connect(cls, *_: object, **__: object) -> AsyncNowhere:
        return cls()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def execute(self, *_: object) -> None: ...


_CONFTEST = """
import pytest
import psycopg
import langgraph.store.HOST as host
import langgraph.store.HOST.aio as aio

import langgraph_own_stores as own

host.NAMEStore = own.Sync
host.AsyncNAMEStore = aio.AsyncNAMEStore = own.Async


@pytest.fixture(autouse=True)
def databases():
    yield
    own.opened.close()
    own.known.clear()
"""
SQLITE = _CONFTEST.replace("HOST", "sqlite").replace("NAME", "Sqlite")
POSTGRES = (
    _CONFTEST.replace("HOST", "postgres").replace("NAME", "Postgres")
    + """
psycopg.Connection, psycopg.AsyncConnection = own.Nowhere, own.AsyncNowhere
"""
)
POSTGRES_TESTS_CONFTEST = """
import pytest
from tests.embed_test_utils import CharacterEmbeddings

DEFAULT_URI = "postgres://localhost/postgres"
VECTOR_TYPES = ["vector", "halfvec"]


@pytest.fixture
def fake_embeddings():
    return CharacterEmbeddings(dims=500)
"""
