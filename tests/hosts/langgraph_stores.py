"""Stores that stand in for LangGraph's `InMemoryStore` in its own suite: Kedge's, and mutants of it."""

from __future__ import annotations

import itertools
import os
from typing import Any

import kedge
from kedge.integrations.embedding import embedder_artifact
from kedge.integrations.langgraph import KedgeStore

_numbers = itertools.count(1)
_open: list[kedge.Kedge] = []


def _database() -> kedge.Kedge:
    """Open the database of this process; with KEDGE_CANARY, turns without a session see a canary."""
    if not _open:
        _open.append(kedge.open(os.environ["KEDGE_PLACE"], durability="normal"))
        _open[0].deploy("v1", {"graph/prompt": "one"})
        _open[0].promote("v1")
        if os.environ.get("KEDGE_CANARY"):
            _open[0].deploy("v2", {"graph/prompt": "two"}, canary=1.0)
    return _open[0]


class HostStore(KedgeStore):
    """A store of its own in one database, with the embedder of its index deployed."""

    def __init__(self, *, index: Any = None, **options: Any) -> None:
        number, k = next(_numbers), _database()
        embedder = f"shared{number}/embedder"
        if index is not None:
            k.deploy(f"embedder-{number}", {embedder: embedder_artifact(index["embed"])})
            k.promote(f"embedder-{number}")
        super().__init__(k, agent="graph", name=f"store-{number}", index=index, embedder=embedder, **options)


class DropsWrites(HostStore):
    """A mutant: the second write of a batch is lost."""

    def _write_items(self, turn: Any, work: Any) -> None:
        work.puts = dict(itertools.islice(work.puts.items(), 1))
        super()._write_items(turn, work)


class LosesEveryFourth(HostStore):
    """A mutant: every fourth put is lost."""

    calls = itertools.count(1)

    def _write_items(self, turn: Any, work: Any) -> None:
        if next(self.calls) % 4:
            super()._write_items(turn, work)


class HidesLatest(HostStore):
    """A mutant: a list ends before its last item."""

    def _search(self, turn: Any, op: Any, work: Any) -> list[Any]:
        return super()._search(turn, op, work)[:-1]


class KeepsOldRows(HostStore):
    """A mutant: an item keeps the rows of its first value."""

    def _write_rows(self, turn: Any, work: Any) -> None:
        known = turn.vectors(self._name).get([row.ident for row in work.rows])
        work.rows = [row for row in work.rows if row.ident not in known]
        super()._write_rows(turn, work)


STORES = {each.__name__: each for each in (HostStore, DropsWrites, LosesEveryFourth, HidesLatest, KeepsOldRows)}
CONFTEST = """
import os
from langgraph.store import memory
from langgraph_stores import STORES

memory.InMemoryStore = STORES[os.environ["KEDGE_STORE"]]
"""
