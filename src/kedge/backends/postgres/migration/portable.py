"""Conversion of portable rows: PostgreSQL stores lists as arrays, and text that people typed as bytes."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kedge.backends.postgres.sql import queries
from kedge.model.migration import Record, Table, turned

_SQL = queries("migration")
_OUT: dict[str, Callable[[Any], Any]] = {"s": lambda value: value.decode(), "I": tuple, "T": tuple}
_IN: dict[str, Callable[[Any], Any]] = {"s": lambda text: text.encode(), "I": list, "T": list, "f": float}
_TYPES = {
    "i": "int8", "f": "float8", "o": "bool", "b": "bytea", "t": "text", "s": "bytea", "I": "int8[]", "T": "text[]",
}  # fmt: skip


def select(table: Table) -> bytes:
    """Return the statement that selects a table's rows in order of its key."""
    if table.name in _SQL:
        return _SQL[table.name]
    columns, key = ", ".join(table.names), ", ".join(table.names[: table.key])
    return f"SELECT {columns} FROM kedge.{table.name} ORDER BY {key}".encode()  # noqa: S608 - our own names


def portable(table: Table, rows: Iterable[Any]) -> Iterator[Record]:
    """Yield rows of `select` as portable rows."""
    return turned(table, rows, _OUT)


def stored(table: Table, rows: Iterable[Record]) -> Iterator[Record]:
    """Yield portable rows as they are stored."""
    return turned(table, rows, _IN)


def types(table: Table) -> list[str]:
    """Return the types that a table's columns are stored in."""
    return [_TYPES[kind] for kind in table.kinds]
