"""Import from a LanceDB folder."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kedge.bulk.arrow import ArrowSource
from kedge.bulk.sources import Columns, Source, existing_path, pick_all, readable
from kedge.errors import InvalidValue
from kedge.support.optional import require

_METRICS = {"cosine": "cosine", "dot": "dot", "l2": "l2"}
_SUFFIX = ".lance"
_NEWER = "if a newer LanceDB wrote it, install that version"


@contextmanager
def open_lancedb(
    path: str | Path, columns: Columns | None = None, tables: Iterable[str] | None = None
) -> Iterator[list[Source]]:
    """Open the tables of a LanceDB folder, all or the named ones; `columns` as for Parquet."""
    folder = existing_path(path, "folder")
    known = sorted(found.name.removesuffix(_SUFFIX) for found in folder.glob(f"*{_SUFFIX}") if found.is_dir())
    if not known:
        raise InvalidValue(
            f"{str(path)!r} is not a LanceDB folder: it holds no table; name the folder with the *{_SUFFIX} folders"
        )
    lancedb = require("lancedb", "lancedb")
    names = pick_all(known, tables, "table", str(path))
    with readable(str(path), _NEWER):
        database = lancedb.connect(folder)
        sources: list[Source] = [_open_table(database, name, columns or Columns()) for name in names]
    yield sources


def _open_table(database: Any, name: str, columns: Columns) -> Source:
    table = database.open_table(name)
    rows = table.count_rows()

    def scan(names: list[str], size: int) -> Iterator[Any]:
        with readable(f"the table {name!r}", _NEWER):
            yield from table.search().limit(max(rows, 1)).select(names).to_batches(size)

    source = ArrowSource(name, table.schema, rows, scan, columns)
    source.metric = _metric(table, source.vector)
    return source


def _metric(table: Any, column: str) -> str | None:
    """Return the metric of the index of the vectors; without an index LanceDB uses l2."""
    for index in table.list_indices():
        if column in index.columns:
            stats = table.index_stats(index.name)
            return _METRICS.get(str(getattr(stats, "distance_type", None)).lower())
    return "l2"
