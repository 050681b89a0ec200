"""Sources of vectors in Arrow columns: Parquet files, Arrow IPC files and streams, LanceDB tables."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import numpy as np

from kedge.bulk.sources import Columns, Rows, ident, pick, readable
from kedge.errors import InvalidValue
from kedge.ports.vectors import Floats
from kedge.support.optional import require

ID, VECTOR = "id", "vector"
_PEEK = 1_000
_PANDAS_INDEX = "__index_level_"
_IPC_FILE = b"ARROW1"
_WHOLE = "check that the file is complete and that its suffix is right"


class _Layout(msgspec.Struct, frozen=True):
    """The column of each part. `fields`: the columns that make up the payload; `json`: the one that is the payload."""

    ids: str
    vector: str
    fields: tuple[str, ...]
    json: str | None
    document: str | None

    @property
    def all(self) -> list[str]:
        """All columns to read."""
        others = [name for name in (self.json, self.document) if name is not None]
        return list(dict.fromkeys([self.ids, self.vector, *self.fields, *others]))


class ArrowSource:
    """The rows of a source of record batches. Each `scan(columns, size)` reads from the first row."""

    def __init__(
        self,
        name: str,
        schema: Any,
        rows: int,
        scan: Callable[[list[str], int], Iterable[Any]],
        columns: Columns,
        *,
        metric: str | None = None,
    ) -> None:
        self.name = name
        self.rows = rows
        self.metric = metric
        self._scan = scan
        self._layout = _layout(name, schema, columns)
        self.dim = self._find_dim(schema.field(self._layout.vector).type)

    @property
    def vector(self) -> str:
        """The column that holds the vectors."""
        return self._layout.vector

    def _find_dim(self, kind: Any) -> int | None:
        size = getattr(_storage_type(kind), "list_size", None)
        if size is not None:
            return int(size)
        return next((rows.vectors.shape[1] for rows in self.batches(_PEEK) if rows.ids), None)

    def batches(self, size: int) -> Iterator[Rows]:
        """Return the rows in order."""
        first = 0
        for table in _of_size(self._scan(self._layout.all, size), size):
            yield _rows(table, self._layout, f"{self.name}, row {first:,} or after,")
            first += table.num_rows
        if first != self.rows:  # fail rather than load a part silently
            raise InvalidValue(
                f"{self.name} returned {first:,} of {self.rows:,} rows: it is being written to, or damaged; try again"
            )


def open_parquet(path: Path, columns: Columns) -> ArrowSource:
    """Open a Parquet file."""
    parquet = require("pyarrow.parquet", "arrow")
    with readable(path.name, _WHOLE):
        file = parquet.ParquetFile(path)

        def scan(names: list[str], size: int) -> Iterator[Any]:
            with readable(path.name, _WHOLE):
                yield from file.iter_batches(batch_size=size, columns=names)

        return ArrowSource(path.stem, file.schema_arrow, file.metadata.num_rows, scan, columns)


def open_arrow(path: Path, columns: Columns) -> ArrowSource:
    """Open an Arrow IPC file (Feather included) or stream, memory-mapped."""
    pyarrow = require("pyarrow", "arrow")
    ipc = require("pyarrow.ipc", "arrow")

    def read() -> Iterator[Any]:
        with readable(path.name, _WHOLE), pyarrow.memory_map(str(path)) as mapped:
            if mapped.read(len(_IPC_FILE)) == _IPC_FILE:
                file = ipc.open_file(mapped)
                yield from (file.get_batch(number) for number in range(file.num_record_batches))
            else:
                mapped.seek(0)
                yield from ipc.open_stream(mapped)

    with readable(path.name, _WHOLE), pyarrow.memory_map(str(path)) as mapped:
        is_file = mapped.read(len(_IPC_FILE)) == _IPC_FILE
        mapped.seek(0)
        schema = (ipc.open_file if is_file else ipc.open_stream)(mapped).schema

    def scan(names: list[str], _size: int) -> Iterator[Any]:
        return (batch.select(names) for batch in read())

    return ArrowSource(path.stem, schema, sum(batch.num_rows for batch in read()), scan, columns)


# ── columns ──


def _layout(name: str, schema: Any, columns: Columns) -> _Layout:
    known = list(schema.names)
    for what in ("ids", "payload"):
        if isinstance(getattr(columns, what), Path):
            raise InvalidValue(
                f"invalid {what}={getattr(columns, what)!r} for {name}: a path; give the name of a column"
            )
    if columns.ids is not None and not isinstance(columns.ids, str):
        raise InvalidValue(f"invalid ids={columns.ids!r:.80}: must be the name of a column")
    ids = pick(columns.ids or ID, known, "column of ids", name)
    vector = _find_vector(name, schema) if columns.vector is None else pick(columns.vector, known, "column", name)
    document = None if columns.document is None else pick(columns.document, known, "column", name)
    payload = columns.payload
    if isinstance(payload, str):
        return _Layout(ids, vector, (), pick(payload, known, "column", name), document)
    if payload is None:
        payload = [c for c in known if c not in {ids, vector, document} and not c.startswith(_PANDAS_INDEX)]
    assert not isinstance(payload, Path)  # noqa: S101 - for the type checker: refused above
    return _Layout(ids, vector, tuple(pick(c, known, "column", name) for c in payload), None, document)


def _find_vector(name: str, schema: Any) -> str:
    if VECTOR in schema.names:
        return VECTOR
    found = [field.name for field in schema if _is_floats(field.type)]
    if len(found) == 1:
        return str(found[0])
    what = f"several columns of floats, {', '.join(found)}" if found else f"no column of floats among {schema.names}"
    raise InvalidValue(f"{name} has {what}; name the column that holds the vectors")


def _storage_type(kind: Any) -> Any:
    return getattr(kind, "storage_type", kind)  # an extension type's


def _is_floats(kind: Any) -> bool:
    types = require("pyarrow.types", "arrow")
    inner = _storage_type(kind)
    is_list = types.is_fixed_size_list(inner) or types.is_list(inner) or types.is_large_list(inner)
    return bool(is_list and types.is_floating(inner.value_type))


# ── rows ──


def _of_size(batches: Iterable[Any], size: int) -> Iterator[Any]:
    """Regroup batches into tables of `size` rows; the last table holds the rest."""
    pyarrow = require("pyarrow", "arrow")
    held: list[Any] = []
    count = 0
    for batch in batches:
        start = 0
        while start < batch.num_rows:
            part = batch.slice(start, size - count)
            start, count = start + part.num_rows, count + part.num_rows
            held.append(part)
            if count == size:
                yield pyarrow.Table.from_batches(held)
                held, count = [], 0
    if held:
        yield pyarrow.Table.from_batches(held)


def _rows(table: Any, layout: _Layout, where: str) -> Rows:
    present = table.column(layout.vector).is_valid()
    vectorless = table.num_rows - (present.to_numpy().sum() if table.num_rows else 0)
    if vectorless:
        table = table.filter(present)
    ids = [ident(value, where) for value in table.column(layout.ids).to_pylist()]
    documents = None if layout.document is None else _values(table, layout.document)
    return Rows(
        ids,
        _matrix(table.column(layout.vector), layout.vector, ids),
        _payloads(table, layout),
        documents,
        int(vectorless),
    )


def _matrix(column: Any, name: str, ids: Sequence[str]) -> Floats:
    """Return a column of lists as an array of shape (n, dim)."""
    array = column.combine_chunks()
    array = getattr(array, "storage", array)
    if not ids:
        return np.empty((0, 0), np.float32)
    if not hasattr(array, "flatten") or hasattr(array, "field"):
        raise InvalidValue(f"the column {name!r} holds {array.type}, not lists of floats; name the vector column")
    lengths = (
        np.diff(array.offsets.to_numpy()) if hasattr(array, "offsets") else np.full(len(ids), array.type.list_size)
    )
    odd = np.flatnonzero(lengths != lengths[0])
    if odd.size:
        raise InvalidValue(
            f"the vector of {ids[odd[0]]!r} has {lengths[odd[0]]} dimensions, that of {ids[0]!r} {lengths[0]}; "
            "a collection holds vectors of one length; load them into separate collections"
        )
    values = array.flatten().to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "fiu":
        raise InvalidValue(f"the column {name!r} holds {array.type}, not lists of numbers; name the vector column")
    return np.ascontiguousarray(values.reshape(len(ids), int(lengths[0])), dtype=np.float32)


def _payloads(table: Any, layout: _Layout) -> list[Any] | None:
    if layout.json is not None:
        return [_json(value, layout.json) for value in table.column(layout.json).to_pylist()]
    if not layout.fields:
        return None
    columns = [_values(table, name) for name in layout.fields]
    return [dict(zip(layout.fields, row, strict=True)) for row in zip(*columns, strict=True)]


def _values(table: Any, name: str) -> list[Any]:
    return [value if isinstance(value, str) else plain(value, name) for value in table.column(name).to_pylist()]


def _json(value: Any, column: str) -> Any:
    if not isinstance(value, str | bytes):
        return plain(value, column)
    try:
        return msgspec.json.decode(value)
    except (ValueError, RecursionError):
        raise InvalidValue(
            f"the column {column!r} holds {value!r:.60}, which is not JSON; to store it as a field, name it in a "
            "list of columns"
        ) from None


def plain(value: Any, column: str) -> Any:
    """Convert a value for a JSON payload: times to ISO 8601, decimals and UUIDs to text, NaN and infinities to None."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [plain(item, column) for item in value]
    if isinstance(value, dict):
        return {str(name): plain(item, column) for name, item in value.items()}
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal | UUID):
        return str(value)
    raise InvalidValue(
        f"the column {column!r} holds {value!r:.60} of type {type(value).__name__}, which a payload cannot hold; "
        "name the columns that the payload takes"
    )
