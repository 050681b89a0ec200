"""Table of unfinished operations on SQLite: kept in the transactions that write the control log."""

import json
import sqlite3
from collections.abc import Sequence

import msgspec

from kedge.backends.sqlite.sql import queries
from kedge.model.control_log import NewEntry, decode_entry
from kedge.model.unfinished import Unfinished, Wanted, concerns, followed, of_log

_SQL = queries("control")


def follow(connection: sqlite3.Connection, entry: NewEntry, seq: int) -> None:
    """Update the table for a new entry of the log, in its transaction."""
    is_step = entry.record is None
    if not concerns(entry, is_step=is_step):
        return
    before = unfinished_in(connection)
    after = followed(before, entry, seq, is_step=is_step)
    gone = {one.operation for one in before} - {one.operation for one in after}
    connection.executemany(_SQL["unfinished_delete"], [(operation,) for operation in gone])
    _put(connection, [one for one in after if one not in before])


def fill(connection: sqlite3.Connection) -> None:
    """Make the table anew, in a write transaction."""
    connection.execute(_SQL["unfinished_clear"])
    _put(connection, from_log(connection))


def unfinished_in(connection: sqlite3.Connection) -> list[Unfinished]:
    """Return the table, the oldest operation first."""
    rows = connection.execute(_SQL["unfinished"]).fetchall()
    return [Unfinished(operation, kind, seq, decode_wanted(wanted)) for operation, kind, seq, wanted in rows]


def from_log(connection: sqlite3.Connection) -> list[Unfinished]:
    """Return what the table says if it is complete, from the whole log."""
    entries = map(decode_entry, reversed(connection.execute(_SQL["log"], (-1,)).fetchall()))
    return of_log((entry.seq, entry.is_step, entry) for entry in entries)


def decode_wanted(stored: str) -> Wanted:
    """Return the external systems that must follow a change."""
    return msgspec.json.decode(stored, type=Wanted)


def _put(connection: sqlite3.Connection, rows: Sequence[Unfinished]) -> None:
    connection.executemany(
        _SQL["unfinished_put"], [(one.operation, one.kind, one.seq, json.dumps(one.wanted)) for one in rows]
    )
