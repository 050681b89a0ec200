"""Checkpointers and stores of Kedge for LangGraph's own tests of graphs: a fresh database each. And mutants."""

from __future__ import annotations

import itertools
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
from langgraph.checkpoint import memory as savers
from langgraph.store import memory as stores

import kedge
from kedge.integrations.embedding import embedder_artifact
from kedge.integrations.langgraph import KedgeSaver, KedgeStore

_numbers = itertools.count(1)
opened = ExitStack()  # what a test has opened; the fixture `databases` closes it


def database() -> kedge.Kedge:
    """Open a fresh database; with KEDGE_CANARY, every session sees a canary."""
    k = opened.enter_context(kedge.open(_place(), durability="normal"))
    k.deploy("v1", {"graph/prompt": "one"})
    k.promote("v1")
    if os.environ.get("KEDGE_CANARY"):
        k.deploy("v2", {"graph/prompt": "two"}, canary=1.0)
    return k


def _place() -> str:
    server = os.environ.get("KEDGE_SERVER")
    if not server:
        return f"sqlite:///{Path(opened.enter_context(tempfile.TemporaryDirectory())) / 'kedge.db'}"
    name = f"graphs_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    opened.callback(_drop, server, name)
    return f"{server.rpartition('/')[0]}/{name}"


def _drop(server: str, name: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


class LosesWrites(KedgeSaver):
    """A mutant: a task's last pending write is lost."""

    def put_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        super().put_writes(config, list(writes)[:-1], task_id, task_path)


class HidesLatest(KedgeSaver):
    """A mutant: a list ends before its last checkpoint."""

    def list(self, *arguments: Any, **options: Any) -> Any:
        return iter([*super().list(*arguments, **options)][:-1])


class ForgetsParents(KedgeSaver):
    """A mutant: a checkpoint does not say what it was made from."""

    def get_tuple(self, config: Any) -> Any:
        found = super().get_tuple(config)
        return None if found is None else found._replace(parent_config=None)


SAVERS = {each.__name__: each for each in (KedgeSaver, LosesWrites, HidesLatest, ForgetsParents)}


def saver(k: kedge.Kedge | None = None, *, serde: Any = None) -> KedgeSaver:
    """Return the checkpointer that KEDGE_SAVER names."""
    return SAVERS[os.environ["KEDGE_SAVER"]](k or database(), agent="graph", serde=serde)


class InMemorySaver(SAVERS[os.environ.get("KEDGE_SAVER", "KedgeSaver")]):  # type: ignore[misc]
    """Takes the place of LangGraph's, which many tests make themselves."""

    def __init__(self, *, serde: Any = None) -> None:
        super().__init__(database(), agent="graph", serde=serde)


class InMemoryStore(KedgeStore):
    """Takes the place of LangGraph's, with the embedder of its index deployed."""

    def __init__(self, *, index: Any = None) -> None:
        k, embedder = database(), "shared/embedder"
        if index is not None:
            k.deploy("embedder", {embedder: embedder_artifact(index["embed"])})
            k.promote("embedder")
        super().__init__(k, agent="graph", index=index, embedder=embedder)


def replace() -> None:
    """Put them in, for modules that are imported from now on."""
    savers.InMemorySaver = savers.MemorySaver = InMemorySaver
    stores.InMemoryStore = InMemoryStore


REPLACED = ("InMemorySaver", "MemorySaver", "InMemoryStore")
FIXTURES = ("sync_checkpointer", "async_checkpointer", "sync_store", "async_store")


def is_about_savers(item: Any) -> bool:
    """Return whether a test works with a checkpointer or a store: by a fixture, or in a module that makes some."""
    return not set(FIXTURES).isdisjoint(item.fixturenames) or any(hasattr(item.module, name) for name in REPLACED)


CONFTEST = """
from uuid import UUID

import pytest
from langgraph.cache.memory import InMemoryCache
from langgraph.cache.sqlite import SqliteCache

import langgraph_graphs as graphs
from kedge.integrations.langgraph import KedgeStore

pytest.register_assert_rewrite("tests.memory_assert")
import tests.memory_assert  # before: its classes are LangGraph's own

graphs.replace()
NO_DOCKER = True


def pytest_collection_modifyitems(config, items):
    kept = [item for item in items if graphs.is_about_savers(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


@pytest.fixture(autouse=True)
def databases():
    yield
    graphs.opened.close()


@pytest.fixture
def k(databases):
    return graphs.database()


@pytest.fixture
def sync_checkpointer(k):
    return graphs.saver(k)


@pytest.fixture
def async_checkpointer(k):
    return graphs.saver(k)


@pytest.fixture
def sync_store(k):
    return KedgeStore(k, agent="graph")


@pytest.fixture
def async_store(k):
    return KedgeStore(k, agent="graph")


@pytest.fixture(params=["sync", "async", "exit"])
def durability(request):
    return request.param


@pytest.fixture(params=["sqlite", "memory"])
def cache(request):
    return SqliteCache(path=":memory:") if request.param == "sqlite" else InMemoryCache()


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def deterministic_uuids(mocker):
    numbers = (UUID(f"00000000-0000-4000-8000-{n:012}", version=4) for n in range(10_000))
    return mocker.patch("uuid.uuid4", side_effect=numbers)
"""
