"""Verification on SQLite: readers' answers compared with every write to a key."""

import sqlite3
from collections.abc import Iterable

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.reads import Reader, check_epoch
from kedge.backends.sqlite.sql import queries
from kedge.backends.sqlite.states import States
from kedge.model.states import RowClass
from kedge.model.verification import KeyCheck, compare, keys_in, spread, true_head
from kedge.model.visibility import View
from kedge.model.writes import Head, Key

_SQL = queries("verification")
_TRUE_BARE = _SQL["true_writes"].replace("w.payload", "NULL")


class SqliteVerification:
    """The `Verification` port of one SQLite database."""

    def __init__(self, database: Database, states: States, reader: Reader) -> None:
        self._database = database
        self._states = states
        self._reader = reader

    def true_head(self, view: View, key: Key) -> Head | None:
        """Return a key's head, computed from all writes to it."""
        with self._database.connection() as connection:
            return _true_head(connection, view, key, _SQL["true_writes"])

    def check_keys(self, view: View, keys: Iterable[Key]) -> list[KeyCheck]:
        """Return what readers get at each key, and the truth, from one snapshot."""
        asked = list(keys)
        with self._database.reading() as connection:
            check_epoch(connection, view.epoch)
            heads = (self._reader.head_in(connection, view, key, payloads=False) for key in asked)
            read = [None if head is None else (head.seq, head.lineage) for head in heads]
            truths = self._true_seqs(connection, view, asked)
        return compare(asked, read, truths)

    def _true_seqs(self, connection: sqlite3.Connection, view: View, keys: list[Key]) -> list[int | None]:
        heads = [_true_head(connection, view, key, _TRUE_BARE) for key in keys]
        return [None if head is None else head.seq for head in heads]

    def sample_keys(self, stores: Iterable[str], count: int) -> list[Key]:
        """Return up to `count` keys of these stores, each once, spread evenly over the journal."""
        with self._database.reading() as connection:
            last = connection.execute(_SQL["last_write"]).fetchone()[0]
            near = [connection.execute(_SQL["key_near"], (seq,)).fetchone() for seq in spread(last, count)]
        return keys_in((row for row in near if row is not None), stores)

    def vector_agreement(self, view: View, count: int) -> tuple[int, int]:
        """Compare whether about `count` vector rows are searchable and should be: (rows that agree, rows compared)."""
        segments = self._database.ask(_SQL["segments"])
        agree = rows = 0
        for segment, length in segments:
            share = max(1, count // len(segments))
            step = max(1, length // share)
            for position in range((length - 1) % step, length, step):  # the newest row included
                agrees = self._row_agrees(view, segment, position)
                agree += agrees is True
                rows += agrees is not None
        return agree, rows

    def _row_agrees(self, view: View, segment: int, number: int) -> bool | None:
        """Say whether the row at or after a number is searchable exactly if it is the head; None if there is no row."""
        with self._database.reading() as connection:
            found = connection.execute(_SQL["row_near"], (segment, number)).fetchone()
            if found is None:
                return None
            seq, state, name, space = found
            key = Key("vectors", space, name)
            row_class = self._states.class_of(connection, view, self._states.known(connection, [state])[state])
            if row_class is RowClass.CONTESTED:  # the heads of its key decide
                there = self._reader.head_in(connection, view, key, payloads=False)
                row_class = RowClass.HEAD if there is not None and there.seq == seq else RowClass.SUPERSEDED
            (head,) = self._true_seqs(connection, view, [key])
        return (row_class is RowClass.HEAD) == bool(head == seq)


def _true_head(connection: sqlite3.Connection, view: View, key: Key, sql: str) -> Head | None:
    rows = connection.execute(sql, (key.store, key.space, key.name)).fetchall()
    return true_head(view, key, rows)
