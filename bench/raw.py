"""Baselines in plain `sqlite3`, on the same schema with the same settings."""

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import kedge

WRITE = "INSERT INTO writes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
HEAD = "INSERT INTO heads (space, name, lineage, rank, seq, deleted, state) VALUES (?, ?, ?, ?, ?, ?, 1)"
COUNT = (
    "INSERT INTO counters VALUES (1, 0, ?, 0) ON CONFLICT (space, lineage) DO UPDATE SET puts = puts + excluded.puts"
)
TURN = (
    "INSERT INTO turns (uid, agent, began_at, began_epoch, lineage) VALUES ('bench', 'writer', 0, 0, 0) "
    "ON CONFLICT (uid) DO UPDATE SET lineage = excluded.lineage"
)
SELECT = "SELECT w.payload FROM heads h JOIN writes w ON w.seq = h.seq WHERE h.space = ? AND h.name = ?"
Rows = list[tuple[Any, ...]]


def connect(folder: Path) -> sqlite3.Connection:
    """Open a database as Kedge does: WAL, synced at every commit, the same page cache."""
    connection = sqlite3.connect(folder / "kedge.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -16384")
    return connection


class RawWriter:
    """Writes rows like Kedge's own; the rows are made beforehand, so that only SQLite is timed."""

    def __init__(self, folder: Path) -> None:
        kedge.open(folder).close()  # for the schema
        self._connection = connect(folder)
        self._seq = 1_000
        self._rows: Rows = []

    def prepare(self, payloads: list[bytes], name: str = "") -> None:
        """Make the next rows, one a payload; a message's name is made as Kedge makes it."""
        rows: Rows = []
        now = time.time()
        for payload in payloads:
            self._seq += 1
            key = f"{name}{self._seq}" if name else f"{self._seq:016x}.{self._seq:016x}"
            salted = (os.urandom(32), os.urandom(16))
            rows.append((self._seq, 1, key, 0, self._seq, 0, 0, 0, 1, now, None, *salted, payload))
        self._rows = rows

    def write_journal(self) -> None:
        """Write the rows into `writes` with its indexes, durably."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(WRITE, self._rows)
        self._connection.execute("COMMIT")

    def write_all(self) -> None:
        """Write the rows and all that belongs to them: the turn, the heads with their index, the counters."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(TURN)
        connection.executemany(WRITE, self._rows)
        connection.executemany(HEAD, [(row[1], row[2], row[3], row[4], row[0], row[5]) for row in self._rows])
        connection.execute(COUNT, (len(self._rows),))
        connection.execute("COMMIT")

    def write_one(self) -> None:
        """Write one row into `writes` with its indexes, durably."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(WRITE, self._rows.pop())
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
