"""Conversion of portable rows: SQLite stores lists as JSON text and booleans as integers."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kedge.model.migration import Record, Table, turned

_SELECT = {"idempotency": "SELECT key, coalesce(seqs, seq), count, lineage FROM idempotency ORDER BY key, seq"}
_OUT: dict[str, Callable[[Any], Any]] = {
    "o": bool,
    "I": lambda text: tuple(json.loads(text)),
    "T": lambda text: tuple(json.loads(text)),
    "b": lambda value: value.encode() if isinstance(value, str) else value,
    "f": float,
}
_IN: dict[str, Callable[[Any], Any]] = {"I": lambda items: json.dumps(list(items)), "T": lambda t: json.dumps(list(t))}


def select(table: Table) -> str:
    """Return the statement that selects a table's rows in order of its key."""
    columns, key = ", ".join(table.names), ", ".join(table.names[: table.key])
    return _SELECT.get(table.name) or f"SELECT {columns} FROM {table.name} ORDER BY {key}"  # noqa: S608 - our own names


def insert(table: Table) -> str:
    """Return the statement that inserts a row of a table, as `stored` gives it."""
    if table.name == "idempotency":
        return "INSERT INTO idempotency (key, seq, count, lineage, seqs) VALUES (?, ?, ?, ?, ?)"
    marks = ", ".join("?" for _ in table.columns)
    return f"INSERT INTO {table.name} ({', '.join(table.names)}) VALUES ({marks})"  # noqa: S608 - our own names


def portable(table: Table, rows: Iterable[Any]) -> Iterator[Record]:
    """Yield rows of `select` as portable rows."""
    if table.name == "idempotency":
        rows = ((key, _seqs(first, count), lineage) for key, first, count, lineage in rows)
    yield from turned(table, rows, _OUT)


def stored(table: Table, rows: Iterable[Record]) -> Iterator[Record]:
    """Yield portable rows as `insert` takes them."""
    if table.name == "idempotency":
        for key, seqs, lineage in rows:
            is_dense = seqs[-1] - seqs[0] + 1 == len(seqs)
            yield key, seqs[0], len(seqs), lineage, None if is_dense else json.dumps(list(seqs))
        return
    yield from turned(table, rows, _IN)


def _seqs(first: Any, count: int) -> str:
    return first if isinstance(first, str) else json.dumps(list(range(first, first + count)))
