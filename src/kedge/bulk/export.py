"""Export of a collection to files that `load` reads: .npy with ids and payloads beside it, Parquet, Arrow."""

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from kedge.errors import InvalidValue, StorageFull
from kedge.stores.batches import VectorBatches, VectorRows, as_json, each_batch
from kedge.support.display import Report, count
from kedge.support.optional import require

Progress = Callable[[int, int], None]
_ARROW = {".arrow", ".feather", ".ipc"}
_PARQUET = {".parquet", ".pq"}


class ExportReport(Report, frozen=True):
    """What an export wrote. `unembedded` counts the keys that were left out: they are in other embedding spaces."""

    collection: str
    rows: int
    unembedded: int
    files: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        """Return the verdict."""
        return f"{self.collection}: {count(self.rows, 'row')} exported, {self.unembedded:,} left out"


class _Sink(Protocol):
    """Writer of rows. Its files have temporary names until they are complete."""

    def write(self, rows: VectorRows) -> None:
        """Write some more rows."""

    def close(self) -> None:
        """Complete the files."""


def export(
    collection: str,
    batches: VectorBatches,
    path: str | Path,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ExportReport:
    """Write all rows of these batches to a file, in the format of its suffix: all of it, or nothing."""
    began = time.monotonic()
    target = Path(path)
    files = _files(target)
    there = next((file for file in files if file.exists()), None)
    if there is not None and not overwrite:
        raise InvalidValue(f"{str(there)!r} already exists; choose another path, or pass overwrite=True (--overwrite)")
    parts = [file.with_name(file.name + ".part") for file in files]
    seen = written = 0
    with _cleaned_up(target, parts):
        sink = _open(target.suffix, parts, batches)
        try:
            for rows in each_batch(batches):
                sink.write(rows)
                written, seen = written + len(rows), min(seen + batches.size, batches.rows)
                if progress is not None:
                    progress(seen, batches.rows)
        finally:
            sink.close()
        for part, file in zip(parts, files, strict=True):
            part.replace(file)
    names = tuple(str(file) for file in files)
    return ExportReport(collection, written, batches.unembedded, names, time.monotonic() - began)


def _files(path: Path) -> list[Path]:
    """Return the files that an export makes, the vectors last."""
    if path.suffix == ".npy":
        return [path.with_suffix(".ids.json"), path.with_suffix(".jsonl"), path]
    if path.suffix in _ARROW | _PARQUET:
        return [path]
    raise InvalidValue(f"{path.name!r} has an unknown suffix; use .npy, .parquet, .arrow or .feather")


def _open(suffix: str, parts: list[Path], batches: VectorBatches) -> _Sink:
    if suffix == ".npy":
        return _Npy(parts, batches)
    empty = VectorRows([], np.empty((0, batches.dim), np.float32), [], np.empty(0, np.int64))
    return _Arrow(suffix, parts[0], empty)


@contextmanager
def _cleaned_up(target: Path, parts: list[Path]) -> Iterator[None]:
    """Remove temporary files at the end, and translate errors of the file system."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull(f"no room to write {str(target)!r}; free some space, or choose another disk") from error
        raise InvalidValue(f"{str(target)!r} cannot be written ({error}); check the path") from error
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


class _Npy:
    """An .npy file, a JSON list of ids, and the payloads as one JSON document a line."""

    def __init__(self, parts: list[Path], batches: VectorBatches) -> None:
        ids, payloads, vectors = parts
        self._dim = batches.dim
        self._rows = 0
        self._vectors = vectors.open("wb")
        self._ids = ids.open("wb")
        self._payloads = payloads.open("wb")
        self._write_header(batches.rows)

    def _write_header(self, rows: int) -> None:
        """Write the header, whose length does not depend on the number of rows."""
        shape = {"descr": "<f4", "fortran_order": False, "shape": (rows, self._dim)}
        np.lib.format.write_array_header_1_0(self._vectors, shape)

    def write(self, rows: VectorRows) -> None:
        """Write some more rows."""
        self._vectors.write(np.ascontiguousarray(rows.vectors, "<f4").data)
        for ident, payload in zip(rows.ids, rows.payloads, strict=True):
            self._ids.write((b",\n" if self._rows else b"[") + msgspec.json.encode(ident))
            self._payloads.write(as_json(ident, payload) + b"\n")
            self._rows += 1

    def close(self) -> None:
        """End the list of ids, and correct the number of rows in the header."""
        with self._vectors, self._ids, self._payloads:
            self._ids.write(b"]\n" if self._rows else b"[]\n")
            self._vectors.seek(0)
            self._write_header(self._rows)


class _Arrow:
    """A Parquet or Arrow IPC file with the columns of `VectorRows.to_arrow`."""

    def __init__(self, suffix: str, part: Path, empty: VectorRows) -> None:
        schema = empty.to_arrow().schema
        if suffix in _PARQUET:
            self._writer: Any = require("pyarrow.parquet", "arrow").ParquetWriter(str(part), schema)
        else:
            self._writer = require("pyarrow.ipc", "arrow").new_file(str(part), schema)

    def write(self, rows: VectorRows) -> None:
        """Write some more rows."""
        self._writer.write_table(rows.to_arrow())

    def close(self) -> None:
        """Complete the file."""
        self._writer.close()
