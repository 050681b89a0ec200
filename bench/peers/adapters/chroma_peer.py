"""Chroma, as a persistent client in the process; old versions of overwritten rows in SQLite beside it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bench.peers.backup import Backup, Old
from bench.peers.peer import CANDIDATES, By, Floats, Found, Rows, View

_LOOK_UP = 2_000
_NAME = "kb-1"


class ChromaPeer:
    """One collection with an HNSW index."""

    title: ClassVar[str] = "Chroma"
    index: ClassVar[str] = "HNSW (its defaults: M 16, ef 100 while building)"
    method: ClassVar[str] = (
        "`get(where by = …)`, `upsert` of the old versions from a side table, `delete` of the other ids"
    )
    durable: ClassVar[bool] = True
    efforts: ClassVar[Sequence[int]] = CANDIDATES

    def __init__(self) -> None:
        import chromadb  # noqa: PLC0415 - of the group `bench`

        self._chromadb: Any = chromadb
        self._effort = 0

    def version(self) -> str:
        """Return Chroma's version."""
        found: str = self._chromadb.__version__
        return found

    def _connect(self, folder: Path) -> None:
        settings = self._chromadb.Settings(anonymized_telemetry=False)
        self._client = self._chromadb.PersistentClient(path=str(folder / "chroma"), settings=settings)
        self._at_once: int = self._client.get_max_batch_size()
        self._backup = Backup(folder / "backup.db")

    def create(self, folder: Path, dim: int, expected: int) -> None:
        """Make the collection."""
        del dim, expected
        self._connect(folder)
        self._kb = self._client.create_collection(
            _NAME, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )

    def open(self, folder: Path) -> None:
        """Open the collection."""
        self._connect(folder)
        self._kb = self._client.get_collection(_NAME, embedding_function=None)

    def close(self) -> None:
        """Let go of the files, as far as the client lets."""
        self._backup.close()
        close = getattr(self._client, "close", None)
        if close is not None:
            close()

    def load(self, rows: Rows) -> None:
        """Add in the largest batches that it takes."""
        payloads = rows.payloads()
        for begin in range(0, len(rows), self._at_once):
            part = slice(begin, begin + self._at_once)
            ids = [str(i) for i in rows.ids[part].tolist()]
            self._kb.add(ids=ids, embeddings=rows.vectors[part], metadatas=payloads[part])

    def build(self) -> None:
        """The index is kept up to date as rows come."""

    def add(self, rows: Rows) -> None:
        """Add."""
        self.load(rows)

    def overwrite(self, rows: Rows, *, keep: bool) -> None:
        """Copy the old versions, and upsert."""
        payloads = rows.payloads()
        for begin in range(0, len(rows), self._at_once):
            part = slice(begin, begin + self._at_once)
            ids = [str(i) for i in rows.ids[part].tolist()]
            if keep:
                self._keep(By(int(rows.by[0])), ids)
            self._kb.upsert(ids=ids, embeddings=rows.vectors[part], metadatas=payloads[part])

    def _keep(self, by: By, ids: list[str]) -> None:
        old = self._kb.get(ids=ids, include=["embeddings", "metadatas"])
        triples = zip(old["ids"], old["metadatas"], old["embeddings"], strict=True)
        self._backup.keep(by, [Old(int(i), dict(payload), np.asarray(vector)) for i, payload, vector in triples])

    def search(self, query: Floats, k: int, view: View, effort: int) -> list[Found]:
        """Query; `ef_search` is a setting of the collection."""
        if effort != self._effort:
            self._kb.modify(configuration={"hnsw": {"ef_search": effort}})
            self._effort = effort
        where = {"by": {"$in": [int(tag) for tag in view.tags]}} if view.tags else None
        found = self._kb.query(query_embeddings=[query], n_results=k, where=where, include=["metadatas", "distances"])
        pairs = zip(found["ids"][0], found["metadatas"][0], strict=True)
        return [Found(int(i), payload["n"]) for i, payload in pairs]

    def get(self, ids: Sequence[int]) -> dict[int, Found]:
        """Look them up."""
        found = self._kb.get(ids=[str(i) for i in ids], include=["embeddings", "metadatas"])
        triples = zip(found["ids"], found["metadatas"], found["embeddings"], strict=True)
        return {int(i): Found(int(i), payload["n"], np.asarray(vector)) for i, payload, vector in triples}

    def count(self) -> int:
        """Count."""
        found: int = self._kb.count()
        return found

    def roll_back(self, by: By) -> None:
        """Write the old versions over what is still this deployment's, and delete the rest of it."""
        mine = {int(i) for i in self._kb.get(where={"by": int(by)}, include=[])["ids"]}
        back = mine & self._backup.ids(by)
        gone = [str(i) for i in mine - back]
        for begin in range(0, len(gone), _LOOK_UP):
            self._kb.delete(ids=gone[begin : begin + _LOOK_UP])
        for old in self._backup.of(by, back):
            if old:
                self._kb.upsert(
                    ids=[str(row.id) for row in old],
                    embeddings=[row.vector for row in old],
                    metadatas=[row.payload for row in old],
                )

    def processes(self) -> list[int]:
        """The persistent client runs in the caller's process."""
        return [os.getpid()]
