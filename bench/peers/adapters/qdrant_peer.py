"""qdrant-edge: Qdrant's engine in the process; old versions of overwritten rows in SQLite beside it."""

import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bench.peers.backup import Backup, Old
from bench.peers.peer import CANDIDATES, By, Floats, Found, Rows, View

_AT_ONCE = 2_000


class QdrantPeer:
    """One shard with an HNSW index, and an index on the payload field that says which deployment wrote."""

    title: ClassVar[str] = "qdrant-edge"
    index: ClassVar[str] = "HNSW (M 16, ef 100 while building), and an index on the deployment"
    method: ClassVar[str] = (
        "`upsert_points` of the old versions from a side table, on condition that by = …; `delete_points_by_filter`"
    )
    durable: ClassVar[bool] = True
    efforts: ClassVar[Sequence[int]] = CANDIDATES

    def __init__(self) -> None:
        import qdrant_edge  # noqa: PLC0415 - of the group `bench`

        self._q: Any = qdrant_edge

    def version(self) -> str:
        """Return qdrant-edge's version."""
        return version("qdrant-edge-py")

    def create(self, folder: Path, dim: int, expected: int) -> None:
        """Make the shard."""
        del expected
        q = self._q
        (folder / "shard").mkdir()
        self._shard = q.EdgeShard.create(
            str(folder / "shard"),
            q.EdgeConfig(
                vectors=q.EdgeVectorParams(size=dim, distance=q.Distance.Cosine),
                hnsw_config=q.HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=10_000),
            ),
        )
        self._shard.update(q.UpdateOperation.create_field_index("by", q.PayloadSchemaType.Integer))
        self._backup = Backup(folder / "backup.db")

    def open(self, folder: Path) -> None:
        """Load the shard."""
        self._shard = self._q.EdgeShard.load(str(folder / "shard"))
        self._backup = Backup(folder / "backup.db")

    def close(self) -> None:
        """Close the shard."""
        self._backup.close()
        self._shard.close()

    def load(self, rows: Rows) -> None:
        """Upsert."""
        triples = zip(rows.ids.tolist(), rows.vectors, rows.payloads(), strict=True)
        self._upsert([self._q.Point(i, vector.tolist(), payload) for i, vector, payload in triples])

    def _upsert(self, points: list[Any], **condition: Any) -> None:
        for begin in range(0, len(points), _AT_ONCE):
            self._shard.update(self._q.UpdateOperation.upsert_points(points[begin : begin + _AT_ONCE], **condition))

    def build(self) -> None:
        """Let the optimizer run until it has nothing left to do."""
        self._shard.optimize()
        self._shard.flush()

    def add(self, rows: Rows) -> None:
        """Upsert."""
        self.load(rows)

    def overwrite(self, rows: Rows, *, keep: bool) -> None:
        """Copy the old versions, and upsert."""
        ids = rows.ids.tolist()
        for begin in range(0, len(ids), _AT_ONCE) if keep else ():
            old = self._shard.retrieve(ids[begin : begin + _AT_ONCE], True, True)
            kept = [Old(int(row.id), dict(row.payload), np.array(row.vector, np.float32)) for row in old]
            self._backup.keep(By(int(rows.by[0])), kept)
        self.load(rows)

    def _is(self, *tags: By) -> Any:
        q = self._q
        return q.Filter(must=[q.FieldCondition("by", match=q.MatchAny([int(tag) for tag in tags]))])

    def search(self, query: Floats, k: int, view: View, effort: int) -> list[Found]:
        """Search with that many candidates, and a filter where the view hides some."""
        q = self._q
        found = self._shard.search(
            q.SearchRequest(
                query=q.Query.Nearest(query.tolist()),
                limit=k,
                filter=self._is(*view.tags) if view.tags else None,
                params=q.SearchParams(hnsw_ef=effort),
                with_payload=True,
            )
        )
        return [Found(int(hit.id), hit.payload["n"]) for hit in found]

    def get(self, ids: Sequence[int]) -> dict[int, Found]:
        """Look them up."""
        found = self._shard.retrieve(list(ids), True, True)
        return {int(r.id): Found(int(r.id), r.payload["n"], np.array(r.vector, np.float32)) for r in found}

    def count(self) -> int:
        """Count."""
        found: int = self._shard.count(self._q.CountRequest(exact=True))
        return found

    def roll_back(self, by: By) -> None:
        """Write the old versions over what is still this deployment's, and delete the rest of it."""
        for old in self._backup.of(by, self._backup.ids(by)):
            points = [self._q.Point(row.id, row.vector.tolist(), row.payload) for row in old]
            self._upsert(points, condition=self._is(by), update_mode=self._q.UpdateMode.UpdateOnly)
        self._shard.update(self._q.UpdateOperation.delete_points_by_filter(self._is(by)))

    def processes(self) -> list[int]:
        """qdrant-edge runs in the caller's process."""
        return [os.getpid()]
