"""DuckDB: an array column that is searched in full. (Its index, the extension vss, is no part of the package.)"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bench.peers.peer import By, Floats, Found, Rows, View


class DuckPeer:
    """One database file; rows come and go as Arrow tables."""

    title: ClassVar[str] = "DuckDB"
    index: ClassVar[str] = "none: exact `array_cosine_similarity` (the extension vss is a separate download)"
    method: ClassVar[str] = "one transaction: delete by tag, insert of the old versions from a second table"
    durable: ClassVar[bool] = True
    efforts: ClassVar[Sequence[int]] = (0,)

    def __init__(self) -> None:
        import duckdb  # noqa: PLC0415 - of the group `bench`
        import pyarrow as pa  # noqa: PLC0415

        self._duckdb: Any = duckdb
        self._pa: Any = pa

    def version(self) -> str:
        """Return DuckDB's version."""
        found: str = self._duckdb.__version__
        return found

    def create(self, folder: Path, dim: int, expected: int) -> None:
        """Make the tables. A primary key on `item` would double the cost of writing, and nothing here needs it."""
        del expected
        self._connect(folder)
        columns = f"id BIGINT, n BIGINT, by_ TINYINT, lang VARCHAR, v FLOAT[{dim}]"
        self._db.execute(f"CREATE TABLE item ({columns})")
        self._db.execute(f"CREATE TABLE old (dep TINYINT, {columns})")
        self._dim = dim

    def open(self, folder: Path) -> None:
        """Open the database."""
        self._connect(folder)
        ((self._dim,),) = self._db.execute("SELECT len(v) FROM item LIMIT 1").fetchall()

    def _connect(self, folder: Path) -> None:
        self._db = self._duckdb.connect(str(folder / "items.duckdb"))

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def load(self, rows: Rows) -> None:
        """Insert from an Arrow table."""
        new = self._arrow(rows)
        self._db.register("new", new)
        self._db.execute("INSERT INTO item SELECT * FROM new")
        self._db.unregister("new")

    def _arrow(self, rows: Rows) -> Any:
        pa = self._pa
        flat = pa.array(np.ascontiguousarray(rows.vectors).reshape(-1))
        languages = pa.array([payload["lang"] for payload in rows.payloads()])
        return pa.table(
            [pa.array(rows.ids), pa.array(rows.numbers), pa.array(rows.by), languages,
             pa.FixedSizeListArray.from_arrays(flat, rows.vectors.shape[1])],
            names=["id", "n", "by_", "lang", "v"],
        )  # fmt: skip

    def build(self) -> None:
        """Fold the log into the file; there is no index."""
        self._db.execute("CHECKPOINT")

    def add(self, rows: Rows) -> None:
        """Insert."""
        self.load(rows)

    def overwrite(self, rows: Rows, *, keep: bool) -> None:
        """Copy the old versions, delete and insert, in one transaction."""
        self._db.register("new", self._arrow(rows))
        self._db.execute("BEGIN")
        if keep:
            self._db.execute(
                f"INSERT INTO old SELECT {int(rows.by[0])}, item.* FROM item WHERE id IN (SELECT id FROM new)"
            )
        self._db.execute("DELETE FROM item WHERE id IN (SELECT id FROM new)")
        self._db.execute("INSERT INTO item SELECT * FROM new")
        self._db.execute("COMMIT")
        self._db.unregister("new")

    def search(self, query: Floats, k: int, view: View, effort: int) -> list[Found]:
        """Compare with every row that the filter lets through."""
        del effort
        allowed = f"WHERE by_ IN ({', '.join(str(int(tag)) for tag in view.tags)})" if view.tags else ""
        found = self._db.execute(
            f"SELECT id, n, by_, lang FROM item {allowed}"
            f" ORDER BY array_cosine_similarity(v, ?::FLOAT[{self._dim}]) DESC LIMIT ?",
            [query.tolist(), k],
        )
        return [Found(i, n) for i, n, _, _ in found.fetchall()]

    def get(self, ids: Sequence[int]) -> dict[int, Found]:
        """Look them up."""
        found = self._db.execute("SELECT id, n, v FROM item WHERE id IN (SELECT unnest(?))", [list(ids)])
        return {i: Found(i, n, np.array(v, np.float32)) for i, n, v in found.fetchall()}

    def count(self) -> int:
        """Count."""
        ((found,),) = self._db.execute("SELECT count(*) FROM item").fetchall()
        return int(found)

    def roll_back(self, by: By) -> None:
        """Delete what is still this deployment's, and insert the old versions of those ids."""
        tag = int(by)
        self._db.execute("BEGIN")
        self._db.execute(f"CREATE TEMP TABLE mine AS SELECT id FROM item WHERE by_ = {tag}")
        self._db.execute(f"DELETE FROM item WHERE by_ = {tag}")
        self._db.execute(
            f"INSERT INTO item SELECT id, n, by_, lang, v FROM old WHERE dep = {tag} AND id IN (SELECT id FROM mine)"
        )
        self._db.execute(f"DELETE FROM old WHERE dep = {tag}")
        self._db.execute("DROP TABLE mine")
        self._db.execute("COMMIT")

    def processes(self) -> list[int]:
        """DuckDB runs in the caller's process."""
        return [os.getpid()]
