"""Import from files of vectors: .npy, Parquet, Arrow IPC."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from kedge.bulk.arrow import open_arrow, open_parquet
from kedge.bulk.sources import Columns, Rows, Source, existing_path, ident
from kedge.errors import InvalidValue

_MATRIX = 2  # dimensions of an array
_ARROW = {".arrow", ".arrows", ".feather", ".ipc"}
_PARQUET = {".parquet", ".pq"}
_NUMBERS = "fiu"


def open_file(path: str | Path, columns: Columns | None = None) -> Source:
    """Open a file of vectors by its suffix: .npy, .parquet or .pq, .arrow, .arrows, .feather or .ipc.

    For .npy, `ids` is a file beside it (.txt with one id a line, .json with a list, .npy) or a list of ids. Without it
    the ids are "<file>/<row>". `payload` is a file with one JSON document a line. For the other formats these are
    columns: `ids` is "id" by default; `vector` is "vector" or the only column of floats; `payload` is a list of columns
    (by default all others) or one column that holds JSON; `document` goes to the documents of the collection.
    """
    found = existing_path(path, "file")
    wanted = columns or Columns()
    if found.suffix == ".npy":
        return NpySource(found, wanted)
    if found.suffix in _PARQUET:
        return open_parquet(found, wanted)
    if found.suffix in _ARROW:
        return open_arrow(found, wanted)
    raise InvalidValue(
        f"{found.name!r} has an unknown suffix; use .npy, .parquet, .arrow or .feather, or see `kedge import` for "
        "other databases"
    )


class NpySource:
    """The rows of an .npy file, memory-mapped."""

    def __init__(self, path: Path, columns: Columns) -> None:
        for what in ("vector", "document"):
            if getattr(columns, what) is not None:
                raise InvalidValue(f"{path.name} has no columns; omit {what}={getattr(columns, what)!r}")
        self._matrix = _mapped(path)
        if self._matrix.ndim != _MATRIX or self._matrix.dtype.kind not in _NUMBERS:
            raise InvalidValue(
                f"{path.name} holds {self._matrix.dtype} of shape {self._matrix.shape}; save numbers of shape (n, dim)"
            )
        self.name = path.stem
        self.rows, self.dim = self._matrix.shape
        self.metric: str | None = None
        self._ids = None if columns.ids is None else _read_ids(columns.ids)
        if self._ids is not None and len(self._ids) != self.rows:
            raise InvalidValue(
                f"{path.name} has {self.rows:,} rows, but there are {len(self._ids):,} ids; give one id a row"
            )
        self._payload = None if columns.payload is None else _payload_file(columns.payload)

    def batches(self, size: int) -> Iterator[Rows]:
        """Return the rows in order."""
        payloads = None if self._payload is None else _lines(self._payload)
        for start in range(0, self.rows, size):
            end = min(start + size, self.rows)
            ids = [f"{self.name}/{row}" for row in range(start, end)] if self._ids is None else self._ids_in(start, end)
            vectors = np.ascontiguousarray(self._matrix[start:end], dtype=np.float32)
            yield Rows(ids, vectors, None if payloads is None else [self._next(payloads) for _ in range(start, end)])
        if payloads is not None and next(payloads, None) is not None:
            raise InvalidValue(
                f"{self._payload} has more lines than there are rows ({self.rows:,}); give one line a row"
            )

    def _ids_in(self, start: int, end: int) -> list[str]:
        assert self._ids is not None  # noqa: S101 - for the type checker
        return [ident(value, f"row {row}") for row, value in enumerate(self._ids[start:end], start)]

    def _next(self, payloads: Iterator[Any]) -> Any:
        found = next(payloads, None)
        if found is None:
            raise InvalidValue(
                f"{self._payload} has fewer lines than there are rows ({self.rows:,}); give one line a row"
            )
        return found[0]


def _mapped(path: Path) -> npt.NDArray[Any]:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InvalidValue(f"{path.name} cannot be read as an .npy file ({error}); write it with numpy.save") from None
    if not isinstance(found, np.ndarray):
        raise InvalidValue(f"{path.name} holds several arrays; save each in its own file with numpy.save")
    return found


def _read_ids(given: str | Path | Sequence[str]) -> Sequence[Any]:
    if not isinstance(given, str | Path):
        return given
    path = existing_path(given, "file of ids")
    if path.suffix == ".npy":
        found = _mapped(path)
        if found.ndim != 1:
            raise InvalidValue(f"{path.name} holds an array of shape {found.shape}; save ids in shape (n,)")
        return _AsPython(found)
    try:
        text = path.read_text(encoding="utf-8")
        return msgspec.json.decode(text, type=list[str | int]) if path.suffix == ".json" else text.splitlines()
    except (ValueError, OSError) as error:  # msgspec raises ValueError
        raise InvalidValue(
            f"{path.name} cannot be read as ids ({error}); write a JSON list, or a .txt with one id a line"
        ) from None


class _AsPython(Sequence[Any]):
    """An array of ids; its items are Python strings or ints."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, place: Any) -> Any:
        return self._array[place].tolist()


def _payload_file(given: str | Path | Sequence[str]) -> Path:
    if not isinstance(given, str | Path):
        raise InvalidValue(
            f"payload={given!r:.80} is not a file; an .npy file takes a file with one JSON document a line"
        )
    return existing_path(given, "file of payloads")


def _lines(path: Path) -> Iterator[tuple[Any]]:
    """Return the JSON documents of a file, each in a tuple, because `null` is a document too."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield (msgspec.json.decode(line),)
            except (ValueError, RecursionError) as error:
                raise InvalidValue(
                    f"line {number} of {path.name} is not JSON ({error}); write one document a line"
                ) from None
