"""Kedge: deployments are deployments, and views are those of sessions that began before them."""

import os
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import kedge
from bench.peers.peer import By, Floats, Found, Rows, View

_NAME = "kb"
_SESSIONS = {View.TINY: "before-few", View.FEW: "before-rest", View.NO_FLOOD: "before-flood"}
_SEARCHES_A_TURN = 100


class KedgePeer:
    """Kedge, at full durability; each search is a turn's, with verified heads and payloads."""

    title: ClassVar[str] = "Kedge"
    index: ClassVar[str] = "exact; IVF where a segment is sealed and faiss is installed"
    method: ClassVar[str] = "`k.rollback(deployment)`"
    durable: ClassVar[bool] = True
    efforts: ClassVar[Sequence[int]] = (0,)
    searches = 0
    exact_searches = 0

    def version(self) -> str:
        """Return Kedge's version."""
        with suppress(PackageNotFoundError):
            return version("kedge")
        return "of this folder"

    def create(self, folder: Path, dim: int, expected: int) -> None:
        """Declare the collection; begin sessions between the deployments, so that each sees those before it."""
        del expected
        self.open(folder)
        self._k.collection(_NAME, dim=dim)
        for by, view in ((By.FEW, View.TINY), (By.REST, View.FEW), (By.FLOOD, View.NO_FLOOD)):
            self._k.turn(session=_SESSIONS[view], agent="reader").close()
            self._deploy(by)

    def _deploy(self, by: By) -> None:
        name = by.name.lower()
        self._k.deploy(name, {f"{name}/code": name})
        self._k.promote(name)

    def open(self, folder: Path) -> None:
        """Open the database."""
        self._k = kedge.open(folder)
        self._turns: dict[View, tuple[kedge.Turn, list[int]]] = {}

    def close(self) -> None:
        """Close it."""
        self._end_turns()
        self._k.close()

    def load(self, rows: Rows) -> None:
        """Add the rows, those of one deployment by one call."""
        for by in sorted(set(rows.by.tolist())):
            self._write(rows.part(rows.by == by), By(by))

    def _write(self, rows: Rows, by: By) -> None:
        with self._k.turn(agent=by.name.lower()) as turn:
            turn.vectors(_NAME).upsert([str(i) for i in rows.ids.tolist()], rows.vectors, rows.payloads())

    def build(self) -> None:
        """Index what is not indexed."""
        optimize: Any = getattr(self._k, "optimize", None)
        if optimize is not None:
            optimize(_NAME)

    def add(self, rows: Rows) -> None:
        """Write them in one batch a deployment."""
        if int(rows.by[0]) == By.BAD and all(d.name != "bad" for d in self._k.deployments()):
            self._deploy(By.BAD)
        self.load(rows)

    def overwrite(self, rows: Rows, *, keep: bool) -> None:
        """Write them; the journal keeps the old ones, as it does anyway."""
        del keep
        self.add(rows)

    def search(self, query: Floats, k: int, view: View, effort: int) -> list[Found]:
        """Search in a turn, which is begun anew every so often."""
        del effort
        turn, used = self._turn(view)
        used[0] += 1
        hits = turn.vectors(_NAME).search(query, k=k, exact=False)
        self.searches += 1
        self.exact_searches += hits.exact
        return [Found(int(hit.id), hit.payload["n"]) for hit in hits]

    def _turn(self, view: View) -> tuple[kedge.Turn, list[int]]:
        there = self._turns.get(view)
        if there is not None and there[1][0] < _SEARCHES_A_TURN:
            return there
        if there is not None:
            there[0].close()
        self._turns[view] = (self._k.turn(session=_SESSIONS.get(view), agent="reader"), [0])
        return self._turns[view]

    def _end_turns(self) -> None:
        for turn, _ in self._turns.values():
            turn.close()
        self._turns.clear()

    def get(self, ids: Sequence[int]) -> dict[int, Found]:
        """Look them up in a view."""
        rows = self._k.view().vectors(_NAME).get([str(i) for i in ids])
        return {int(i): Found(int(i), row.payload["n"], np.asarray(row.vector)) for i, row in rows.items()}

    def count(self) -> int:
        """Count in a view."""
        return self._k.view().vectors(_NAME).count()

    def roll_back(self, by: By) -> None:
        """Roll back. The turns that were open read what is gone: new ones follow."""
        self._turns.clear()
        self._k.rollback(by.name.lower(), verify=False)

    def reinstate(self, by: By) -> None:
        """Reinstate."""
        self._end_turns()
        self._k.reinstate(by.name.lower())

    def roll_back_and_verify(self, by: By) -> None:
        """Roll back and verify."""
        self._turns.clear()
        self._k.rollback(by.name.lower())

    def processes(self) -> list[int]:
        """Kedge runs in the caller's process."""
        return [os.getpid()]
