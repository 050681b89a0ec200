"""Iteration over keys with their rows: all keys in order, or those that a sample touches."""

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from kedge.backends.sqlite.fsck.inspection import SQL, Inspection
from kedge.model.fsck.keys import Place

Rows = list[Any]


def by_key(inspection: Inspection, table: str) -> Iterator[tuple[Place, Rows, Rows]]:
    """Yield each key with all writes to it, and with all that `table` ("heads" or "rows") holds of it."""
    if inspection.whole:
        yield from _merge(_stream(inspection, "writes"), _stream(inspection, table))
        return
    done: set[Place] = set()
    for first, last in inspection.windows():
        for key in inspection.connection.execute(SQL["keys_between"], (first, last)).fetchall():
            if key not in done:
                done.add(key)
                writes = inspection.connection.execute(SQL["writes_of_key"], key).fetchall()
                yield key, writes, inspection.connection.execute(SQL[f"{table}_of_key"], key).fetchall()


def _stream(inspection: Inspection, table: str) -> sqlite3.Cursor:
    return inspection.connection.execute(SQL[f"{table}_by_key"])


def _merge(left: Iterable[Any], right: Iterable[Any]) -> Iterator[tuple[Place, Rows, Rows]]:
    """Join two streams that are in order of (space, name); a key may be missing from either."""
    lefts, rights = _groups(left), _groups(right)
    a, b = next(lefts, None), next(rights, None)
    while a is not None or b is not None:
        if b is None or (a is not None and a[0] < b[0]):
            assert a is not None  # noqa: S101 - for the type checker: one of them is there
            yield a[0], a[1], []
            a = next(lefts, None)
        elif a is None or b[0] < a[0]:
            yield b[0], [], b[1]
            b = next(rights, None)
        else:
            yield a[0], a[1], b[1]
            a, b = next(lefts, None), next(rights, None)


def _groups(rows: Iterable[Any]) -> Iterator[tuple[Place, Rows]]:
    for key, group in groupby(rows, key=lambda row: (row[0], row[1])):
        yield key, list(group)
