"""LanceDB: a table of fragments with an IVF index; old versions of overwritten rows in a second table."""

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bench.peers.peer import PROBES, By, Floats, Found, Rows, View

_REFINE = 4
_INDEX_ROWS_MIN = 2_000
_LOOK_UP = 5_000


class LancePeer:
    """One row a line of an Arrow table; each write is a new version of the table."""

    title: ClassVar[str] = "LanceDB"
    index: ClassVar[str] = "IVF-SQ, re-ranked; a bitmap index on the deployment, a tree on the id"
    method: ClassVar[str] = "`delete(by = …)`, then `add` of the old versions from a second table; two commits"
    durable: ClassVar[bool] = True
    efforts: ClassVar[Sequence[int]] = PROBES

    def __init__(self) -> None:
        import lancedb  # noqa: PLC0415 - of the group `bench`
        import pyarrow as pa  # noqa: PLC0415

        self._lancedb: Any = lancedb
        self._pa: Any = pa

    def version(self) -> str:
        """Return LanceDB's version."""
        found: str = self._lancedb.__version__
        return found

    def create(self, folder: Path, dim: int, expected: int) -> None:
        """Make both tables."""
        pa = self._pa
        self._lists = max(16, 2 ** round(np.log2(max(1, expected)) / 2))
        self._schema = pa.schema(
            [
                ("id", pa.int64()), ("n", pa.int64()), ("by", pa.int8()), ("lang", pa.string()),
                ("vector", pa.list_(pa.float32(), dim)),
            ]
        )  # fmt: skip
        db = self._lancedb.connect(folder)
        self._table = db.create_table("kb", schema=self._schema)
        self._old = db.create_table("old", schema=self._schema.append(pa.field("dep", pa.int8())))

    def open(self, folder: Path) -> None:
        """Open both tables."""
        db = self._lancedb.connect(folder)
        self._table, self._old = db.open_table("kb"), db.open_table("old")
        self._schema = self._table.schema

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def _arrow(self, rows: Rows) -> Any:
        pa = self._pa
        width = rows.vectors.shape[1]
        flat = pa.array(np.ascontiguousarray(rows.vectors).reshape(-1))
        return pa.table(
            [
                pa.array(rows.ids), pa.array(rows.numbers), pa.array(rows.by),
                pa.array([payload["lang"] for payload in rows.payloads()]),
                pa.FixedSizeListArray.from_arrays(flat, width),
            ],
            schema=self._schema,
        )  # fmt: skip

    def load(self, rows: Rows) -> None:
        """Append a fragment."""
        self._table.add(self._arrow(rows))

    def build(self) -> None:
        """Merge fragments, and index what is not indexed."""
        have = {index.name for index in self._table.list_indices()}
        if have:
            self._table.optimize(cleanup_older_than=timedelta(days=7))
            return
        self._table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)
        if self._table.count_rows() >= _INDEX_ROWS_MIN:
            self._table.create_index(metric="dot", index_type="IVF_SQ", num_partitions=self._lists)
        self._table.create_scalar_index("by", index_type="BITMAP")
        self._table.create_scalar_index("id", index_type="BTREE")

    def add(self, rows: Rows) -> None:
        """Append a fragment."""
        self.load(rows)

    def overwrite(self, rows: Rows, *, keep: bool) -> None:
        """Copy the old versions, and merge the new ones in by id."""
        if keep:
            by = int(rows.by[0])
            for begin in range(0, len(rows), _LOOK_UP):
                old = self._rows(rows.ids[begin : begin + _LOOK_UP].tolist())
                self._old.add(old.append_column("dep", self._pa.array(np.full(len(old), by, np.int8))))
        merge = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
        merge.execute(self._arrow(rows))

    def _rows(self, ids: Sequence[int]) -> Any:
        wanted = ", ".join(map(str, ids))
        found = self._table.search().where(f"id IN ({wanted})").select(self._schema.names).limit(len(ids)).to_arrow()
        return found.select(self._schema.names).cast(self._schema)

    def search(self, query: Floats, k: int, view: View, effort: int) -> list[Found]:
        """Search with that many probes and a filter that is applied first."""
        asked = self._table.search(query).metric("dot").limit(k).nprobes(effort).refine_factor(_REFINE)
        if view.tags:
            asked = asked.where(f"by IN ({', '.join(str(int(tag)) for tag in view.tags)})", prefilter=True)
        found = asked.select(["id", "n", "by", "lang", "_distance"]).to_arrow()
        return [
            Found(i, n) for i, n in zip(found["id"].to_pylist(), found["n"].to_pylist(), strict=True)
        ]  # fmt: skip

    def get(self, ids: Sequence[int]) -> dict[int, Found]:
        """Look them up through the index on the id."""
        found = self._rows(ids)
        vectors = found["vector"].to_numpy(zero_copy_only=False)
        pairs = zip(found["id"].to_pylist(), found["n"].to_pylist(), vectors, strict=True)
        return {i: Found(i, n, vector) for i, n, vector in pairs}

    def count(self) -> int:
        """Count."""
        found: int = self._table.count_rows()
        return found

    def roll_back(self, by: By) -> None:
        """Delete what is still this deployment's, and add the old versions of those ids."""
        mine = self._table.search().where(f"by = {int(by)}").select(["id"]).limit(self.count()).to_arrow()["id"]
        old = self._old.search().where(f"dep = {int(by)}").limit(max(1, self._old.count_rows())).to_arrow()
        back = old.filter(self._pa.compute.is_in(old["id"], value_set=mine.combine_chunks()))
        self._table.delete(f"by = {int(by)}")
        if len(back):
            self._table.add(back.select(self._schema.names).cast(self._schema))

    def snapshot(self) -> object:
        """Return the table's version."""
        return self._table.version

    def rewind(self, to: object) -> None:
        """Make an old version the newest."""
        self._table.restore(to)

    def processes(self) -> list[int]:
        """LanceDB runs in the caller's process."""
        return [os.getpid()]
