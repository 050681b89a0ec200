"""Old versions of overwritten rows in SQLite, for stores without a second table."""

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bench.peers.peer import By, Floats

_AT_ONCE = 2_000


class Old(msgspec.Struct, frozen=True):
    """A row as it was before it was written over."""

    id: int
    payload: dict[str, Any]
    vector: Floats


class Backup:
    """Old versions by (deployment, id), committed durably before the new ones are written."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS old (dep INTEGER, id INTEGER, payload BLOB, vector BLOB, PRIMARY KEY (dep, id))"
        )

    def keep(self, by: By, rows: Iterable[Old]) -> None:
        """Remember rows that this deployment is about to write over; of several versions the first is kept."""
        self._db.execute("BEGIN")
        self._db.executemany(
            "INSERT OR IGNORE INTO old VALUES (?, ?, ?, ?)",
            ((by, row.id, msgspec.json.encode(row.payload), row.vector.astype("<f4").tobytes()) for row in rows),
        )
        self._db.execute("COMMIT")

    def of(self, by: By, wanted: set[int]) -> Iterator[list[Old]]:
        """Yield the old versions of these ids, some at a time."""
        found = self._db.execute("SELECT id, payload, vector FROM old WHERE dep = ?", (by,))
        while rows := found.fetchmany(_AT_ONCE):
            yield [
                Old(i, msgspec.json.decode(payload), np.frombuffer(vector, "<f4"))
                for i, payload, vector in rows
                if i in wanted
            ]

    def ids(self, by: By) -> set[int]:
        """Return the ids that this deployment wrote over."""
        return {i for (i,) in self._db.execute("SELECT id FROM old WHERE dep = ?", (by,))}

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()
