"""Payload columns: the declared fields of a segment's rows, dictionary-encoded in memory.

A column holds a 4-byte code for each row, and each distinct value once. A condition is evaluated once for each distinct
value, by the same rule as for a payload (`kedge.model.filters`). Columns are read from the journal; its payloads never
change.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kedge.backends.sqlite.segment import Ints, Small
from kedge.backends.sqlite.sql import queries
from kedge.model.filters import ABSENT, holds, is_scalar, value_at, wanted_scalars
from kedge.model.writes import decode, to_json

Bools = npt.NDArray[np.bool_]

_SQL = queries("vectors")
_CHUNK_ROWS = 5_000
_ABSENT = 0  # the code of rows whose payload lacks the field


def payloads(connection: sqlite3.Connection, seqs: Ints) -> Iterator[bytes | None]:
    """Yield the payloads of these writes; `seqs` must ascend."""
    for start in range(0, len(seqs), _CHUNK_ROWS):
        chunk = json.dumps(seqs[start : start + _CHUNK_ROWS].tolist())
        for (payload,) in connection.execute(_SQL["payloads_only"], (chunk,)):
            yield payload


class _Column:
    """One field of the first `rows` rows. An interrupted `extend` may be repeated."""

    def __init__(self) -> None:
        self.rows = 0
        self._codes: Small = np.empty(0, np.int32)
        self._values: list[Any] = [None]  # by code
        self._code_of: dict[Any, int] = {}  # by value; by its JSON for lists and objects

    def code(self, value: Any) -> int:
        """Return the code of a value."""
        known_as = value if is_scalar(value) else to_json(value)
        found = self._code_of.get(known_as)
        if found is None:
            found = len(self._values)
            self._values.append(value)
            self._code_of[known_as] = found
        return found

    def extend(self, codes: Sequence[int]) -> None:
        """Add the codes of rows that were appended."""
        rows = self.rows + len(codes)
        if rows > len(self._codes):
            grown = np.empty(max(rows, len(self._codes) * 5 // 4), np.int32)
            grown[: self.rows] = self._codes[: self.rows]
            self._codes = grown
        self._codes[self.rows : rows] = codes
        self.rows = rows

    def passing(self, condition: Any, first: int, end: int) -> Bools:
        """Say for each of the rows from `first` up to `end` whether its value meets a condition."""
        codes = self._codes[first:end]
        wanted = wanted_scalars(condition)
        if wanted is not None:
            return np.isin(codes, [self._code_of[value] for value in wanted if value in self._code_of])
        if end - first >= len(self._values):
            return self._table(condition, range(len(self._values)))[codes]
        distinct, positions = np.unique(codes, return_inverse=True)
        return self._table(condition, distinct.tolist())[positions]

    def _table(self, condition: Any, codes: Iterable[int]) -> Bools:
        return np.array([code != _ABSENT and holds(self._values[code], condition) for code in codes], bool)


class Columns:
    """The columns of one segment. The caller holds a lock."""

    def __init__(self) -> None:
        self._columns: dict[str, _Column] = {}

    def extend(self, connection: sqlite3.Connection, seqs: Ints, fields: Iterable[str]) -> None:
        """Extend the columns of these fields to all rows, given their seqs, in the transaction that saw them."""
        for field in fields:
            self._columns.setdefault(field, _Column())
        behind = {field: column for field in fields if (column := self._columns[field]).rows < len(seqs)}
        for first in sorted({column.rows for column in behind.values()}):
            self._read(connection, seqs, first, {f: c for f, c in behind.items() if c.rows == first})

    def _read(self, connection: sqlite3.Connection, seqs: Ints, first: int, columns: Mapping[str, _Column]) -> None:
        for start in range(first, len(seqs), _CHUNK_ROWS):
            codes: dict[str, list[int]] = {field: [] for field in columns}
            for payload in payloads(connection, seqs[start : start + _CHUNK_ROWS]):
                decoded = decode(payload)
                for field, column in columns.items():
                    value = value_at(decoded, field)
                    codes[field].append(_ABSENT if value is ABSENT else column.code(value))
            for field, column in columns.items():
                column.extend(codes[field])

    def passing(self, where: Mapping[str, Any], first: int, end: int) -> Bools:
        """Say for each of the rows from `first` up to `end` whether it passes a filter on these columns."""
        mask = np.ones(end - first, bool)
        for field, condition in where.items():
            if field == "and":
                mask &= np.logical_and.reduce([self.passing(part, first, end) for part in condition])
            elif field == "or":
                mask &= np.logical_or.reduce([self.passing(part, first, end) for part in condition])
            else:
                mask &= self._columns[field].passing(condition, first, end)
        return mask
