"""sqlite-vec: a virtual table that is searched in full; payloads and old versions in plain tables of one database."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np

from bench.peers.peer import By, Floats, Found, Rows, View


class SqliteVecPeer:
    """One database, WAL, synchronous=FULL; the deployment is a metadata column of the virtual table."""

    title: ClassVar[str] = "sqlite-vec"
    index: ClassVar[str] = "none: exact"
    method: ClassVar[str] = "one transaction: old versions written back from a second table, the rest deleted by tag"
    durable: ClassVar[bool] = True
    efforts: ClassVar[Sequence[int]] = (0,)

    def __init__(self) -> None:
        import apsw  # noqa: PLC0415 - of the group `bench`; Python's own SQLite may be built without extensions
        import sqlite_vec  # noqa: PLC0415

        self._apsw: Any = apsw
        self._sqlite_vec: Any = sqlite_vec

    def version(self) -> str:
        """Return the extension's version."""
        found: str = self._sqlite_vec.__version__
        return f"{found} (SQLite {self._apsw.sqlite_lib_version()})"

    def create(self, folder: Path, dim: int, expected: int) -> None:
        """Make the tables."""
        del expected
        self.open(folder)
        self._db.execute(
            "CREATE VIRTUAL TABLE vec USING vec0"
            f"(id INTEGER PRIMARY KEY, by INTEGER, v FLOAT[{dim}] distance_metric=cosine)"
        )
        self._db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, by INTEGER NOT NULL, payload TEXT NOT NULL)")
        self._db.execute("CREATE INDEX item_by ON item (by)")
        self._db.execute(
            "CREATE TABLE old (dep INTEGER, id INTEGER, by INTEGER, payload TEXT, v BLOB, PRIMARY KEY (dep, id))"
        )

    def open(self, folder: Path) -> None:
        """Open the database with the extension."""
        self._db = self._apsw.Connection(str(folder / "vec.db"))
        self._db.enable_load_extension(True)
        self._sqlite_vec.load(self._db)
        self._db.enable_load_extension(False)
        self._db.execute("PRAGMA journal_mode = WAL").fetchall()
        self._db.execute("PRAGMA synchronous = FULL")

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def load(self, rows: Rows) -> None:
        """Insert in one transaction."""
        payloads = [msgspec.json.encode(payload).decode() for payload in rows.payloads()]
        ids, by = rows.ids.tolist(), rows.by.tolist()
        with self._db:
            self._db.executemany("INSERT INTO item VALUES (?, ?, ?)", zip(ids, by, payloads, strict=True))
            self._db.executemany(
                "INSERT INTO vec (id, by, v) VALUES (?, ?, ?)",
                zip(ids, by, (row.tobytes() for row in rows.vectors), strict=True),
            )

    def build(self) -> None:
        """There is no index."""

    def add(self, rows: Rows) -> None:
        """Insert."""
        self.load(rows)

    def overwrite(self, rows: Rows, *, keep: bool) -> None:
        """Copy the old versions and update, in one transaction."""
        ids, by = rows.ids.tolist(), rows.by.tolist()
        payloads = [msgspec.json.encode(payload).decode() for payload in rows.payloads()]
        with self._db:
            if keep:
                self._db.executemany(
                    "INSERT OR IGNORE INTO old SELECT ?, i.id, i.by, i.payload, v.v"
                    " FROM item i JOIN vec v ON v.id = i.id WHERE i.id = ?",
                    zip(by, ids, strict=True),
                )
            items = zip(by, payloads, ids, strict=True)
            self._db.executemany("UPDATE item SET by = ?, payload = ? WHERE id = ?", items)
            self._db.executemany(
                "UPDATE vec SET by = ?, v = ? WHERE id = ?",
                zip(by, (row.tobytes() for row in rows.vectors), ids, strict=True),
            )

    def search(self, query: Floats, k: int, view: View, effort: int) -> list[Found]:
        """Search, with the deployment as a constraint on the virtual table."""
        del effort
        allowed = f" AND by IN ({', '.join(str(int(tag)) for tag in view.tags)})" if view.tags else ""
        found = self._db.execute(
            "SELECT n.id, i.payload FROM (SELECT id, distance FROM vec WHERE v MATCH ? AND k = ?"
            f"{allowed}) n JOIN item i ON i.id = n.id ORDER BY n.distance",
            (query.tobytes(), k),
        )
        return [Found(i, json.loads(payload)["n"]) for i, payload in found]

    def get(self, ids: Sequence[int]) -> dict[int, Found]:
        """Look them up, one by one, as SQLite likes it."""
        found = {}
        for i in ids:
            for payload, v in self._db.execute(
                "SELECT i.payload, v.v FROM item i JOIN vec v ON v.id = i.id WHERE i.id = ?", (i,)
            ):
                found[i] = Found(i, json.loads(payload)["n"], np.frombuffer(v, np.float32))
        return found

    def count(self) -> int:
        """Count."""
        ((found,),) = self._db.execute("SELECT count(*) FROM item")
        return int(found)

    def roll_back(self, by: By) -> None:
        """Write back what was written over and is still this deployment's, and delete what it added."""
        with self._db:
            mine = {i for (i,) in self._db.execute("SELECT id FROM item WHERE by = ?", (by,))}
            old = self._db.execute("SELECT by, payload, v, id FROM old WHERE dep = ?", (by,)).fetchall()
            back = [row for row in old if row[3] in mine]
            self._db.executemany("UPDATE vec SET by = ?, v = ? WHERE id = ?", ((b, v, i) for b, _, v, i in back))
            self._db.executemany("UPDATE item SET by = ?, payload = ? WHERE id = ?", ((b, p, i) for b, p, _, i in back))
            gone = [(i,) for i in mine - {row[3] for row in back}]
            self._db.executemany("DELETE FROM vec WHERE id = ?", gone)
            self._db.executemany("DELETE FROM item WHERE id = ?", gone)
            self._db.execute("DELETE FROM old WHERE dep = ?", (by,))

    def processes(self) -> list[int]:
        """SQLite runs in the caller's process."""
        return [os.getpid()]
