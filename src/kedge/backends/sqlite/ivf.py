"""The approximate index of a segment: immutable faiss IVF files over ranges of rows. Caches: delete them at will.

The lists are 8-bit scalar-quantised; what they propose is scored again from the segment file. A search visits as many
lists as it takes to meet enough rows that the view shows, so that what a rollback hides is made up for by going
further, and only there.
"""

import fcntl
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import faiss as typed_faiss
import msgspec
import numpy as np

from kedge.backends.sqlite.segment import Bits, Ints, Shown, Small, lengths_of
from kedge.ports.vectors import Floats

faiss: Any = typed_faiss  # its wrappers are made at import time: what its stubs say is not what it takes

PROBES = 16  # lists visited where the view shows all of them
ROWS_MIN = 20_000  # fewer are searched exactly in no time
_TRAINING_ROWS_A_LIST = 64
_CHUNK_ROWS = 65_536
_THINNED = 0.5  # a query's nearest lists that show less than this share are made up for twice
_EFFORT_MAX = 8.0
_TINY = np.float32(1e-30)
_FORMAT = 1
_HEAD_BYTES = 1 << 22  # what faiss follows blindly stands at the beginning: sizes and centroids


class _PartFile(msgspec.Struct, frozen=True):
    first: int
    rows: int
    file: str
    bytes: int
    head_crc: int
    crc: int


class _Manifest(msgspec.Struct, frozen=True):
    format: int
    metric: str
    parts: list[_PartFile]


class Part:
    """One index file over the rows first … first + rows - 1; `first` is a multiple of 8, so that bits can be cut."""

    def __init__(self, first: int, index: Any) -> None:
        self.first, self.index = first, index
        self.rows: int = index.ntotal
        self.lists: Small = _lists(index)
        self._sizes = np.bincount(self.lists, minlength=index.nlist)
        self._counts: tuple[Bits, Ints] | None = None

    def search(self, query: Floats, shown: Shown, wanted: int, budget: float) -> tuple[Ints, bool]:
        """Return up to `wanted` rows that the view shows, and whether all lists were visited.

        Lists are visited, nearest first, until they hold `budget` rows that the view shows.
        """
        counts = self._shown_by_list(shown)
        nlist = self.index.nlist
        order = self.index.quantizer.search(query, nlist)[1][0]
        met = np.cumsum(counts[order])
        near = met[min(PROBES, nlist) - 1] / max(1, self._sizes[order[:PROBES]].sum())
        if near < _THINNED:  # what is left of a neighbourhood lies further apart than what was taken out of it
            budget *= min(_EFFORT_MAX, _THINNED / max(near, 1e-3))
        probes = min(nlist, int(np.searchsorted(met, budget)) + 1)
        selector = faiss.IDSelectorBitmap(self._bits(shown))
        parameters = faiss.SearchParametersIVF(sel=selector, nprobe=probes)
        with _one_thread():
            found = self.index.search(query, wanted, params=parameters)[1][0]
        return found[(found >= 0) & (found < self.rows)] + self.first, probes == nlist

    def _bits(self, shown: Shown) -> Bits:
        return shown.bits[self.first // 8 : (self.first + self.rows + 7) // 8]

    def _shown_by_list(self, shown: Shown) -> Ints:
        """Return how many rows the view shows in each list, from the last answer where the view is the same."""
        bits = self._bits(shown)
        if self._counts is not None and self._counts[0] is shown.bits:
            return self._counts[1]
        visible = np.unpackbits(bits, count=self.rows, bitorder="little").view(bool)
        counts = np.bincount(self.lists[visible], minlength=self.index.nlist)
        self._counts = (shown.bits, counts)
        return counts


@contextmanager
def _one_thread() -> Iterator[None]:
    """Search a single query without a team of threads, whose waking costs more than the search."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


class IvfIndex:
    """The parts of one segment that are indexed; rows from `rows` on are not."""

    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts
        self.rows = max((part.first + part.rows for part in parts), default=0)

    def search(self, query: Floats, shown: Shown, wanted: int, effort: float) -> tuple[Ints, bool]:
        """Return rows that the view shows and that are near a query of shape (1, dim), and whether all were visited."""
        found = []
        whole = True
        for part in self.parts:
            budget = PROBES * part.rows / part.index.nlist * effort
            rows, visited_all = part.search(query, shown, wanted, budget)
            found.append(rows)
            whole &= visited_all
        return np.concatenate(found), whole


def lists_for(rows: int) -> int:
    """Return a number of lists: the power of two next to the square root, so that lists and centroids cost alike."""
    return int(2 ** max(4, round(np.log2(max(1, rows)) / 2)))


def prepared(rows: Floats, metric: str) -> Floats:
    """Return rows as the index compares them: of length one under cosine."""
    copied = np.array(rows, np.float32)
    if metric == "cosine":
        copied /= np.maximum(lengths_of(copied), _TINY)[:, None]
    return copied


def build(matrix: Floats, first: int, rows: int, metric: str) -> Any:
    """Train and fill an index over rows of a segment."""
    dim = matrix.shape[1]
    nlist = lists_for(rows)
    kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    quantizer = faiss.IndexFlatL2(dim) if metric == "l2" else faiss.IndexFlatIP(dim)
    index = faiss.IndexIVFScalarQuantizer(quantizer, dim, nlist, faiss.ScalarQuantizer.QT_8bit, kind)
    index.cp.max_points_per_centroid = _TRAINING_ROWS_A_LIST
    index.cp.min_points_per_centroid = 1
    index.cp.seed = 1
    sample = np.linspace(first, first + rows - 1, min(rows, nlist * _TRAINING_ROWS_A_LIST)).astype(np.int64)
    index.train(prepared(matrix[sample], metric))
    for start in range(first, first + rows, _CHUNK_ROWS):
        index.add(prepared(matrix[start : min(start + _CHUNK_ROWS, first + rows)], metric))
    index.own_fields = True
    quantizer.this.disown()
    return index


def _lists(index: Any) -> Small:
    lists = np.empty(index.ntotal, np.int32)
    for number in range(index.nlist):
        size = index.invlists.list_size(number)
        if size:
            lists[faiss.rev_swig_ptr(index.invlists.get_ids(number), size)] = number
    return lists


# ── files ──


def _manifest_path(folder: Path, stem: str) -> Path:
    return folder / f"{stem}.ivf.json"


def stamp(folder: Path, stem: str) -> object:
    """Return something that differs once another process has put a new index in place."""
    try:
        return _manifest_path(folder, stem).stat().st_mtime_ns
    except OSError:
        return None


def load(folder: Path, stem: str, metric: str) -> IvfIndex:
    """Return what is indexed of a segment; whatever cannot be used is as if it were not there."""
    manifest = _read_manifest(folder, stem, metric)
    parts = []
    for described in [] if manifest is None else manifest.parts:
        part = _load_part(folder / described.file, described)
        if part is None:
            break  # rows are indexed from the first on without a gap
        parts.append(part)
    return IvfIndex(parts)


def _read_manifest(folder: Path, stem: str, metric: str) -> _Manifest | None:
    try:
        manifest = msgspec.json.decode(_manifest_path(folder, stem).read_bytes(), type=_Manifest)
    except (OSError, msgspec.DecodeError):
        return None
    return manifest if manifest.format == _FORMAT and manifest.metric == metric else None


def _load_part(path: Path, described: _PartFile) -> Part | None:
    try:
        if path.stat().st_size != described.bytes or _crc(path, _HEAD_BYTES) != described.head_crc:
            return None
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        return Part(described.first, index) if index.ntotal == described.rows else None
    except (OSError, RuntimeError, IndexError):
        return None


def is_sound(folder: Path, stem: str, metric: str) -> bool:
    """Read the index files in full, and say whether they are what was written."""
    manifest = _read_manifest(folder, stem, metric)
    try:
        return manifest is None or all(_crc(folder / part.file) == part.crc for part in manifest.parts)
    except OSError:
        return False


def drop(folder: Path, stem: str) -> None:
    """Take the index of a segment away."""
    _manifest_path(folder, stem).unlink(missing_ok=True)
    for stale in folder.glob(f"{stem}.*.ivf*"):
        with suppress(OSError):
            stale.unlink()


def _crc(path: Path, upto: int | None = None) -> int:
    """Return the CRC-32 of a file, or of what it begins with."""
    found = 0
    with path.open("rb") as file:
        if upto is not None:
            return zlib.crc32(file.read(upto))
        while chunk := file.read(1 << 22):
            found = zlib.crc32(chunk, found)
    return found


@contextmanager
def building(folder: Path, stem: str, *, wait: bool = False) -> Iterator[bool]:
    """Let one process at a time work on a segment's files; give False where another does, unless it is to `wait`."""
    descriptor = os.open(folder / f"{stem}.ivf.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def add_part(folder: Path, stem: str, metric: str, matrix: Floats, first: int, rows: int) -> None:
    """Build an index over rows and put it in place of all parts from `first` on."""
    index = build(matrix, first, rows, metric)
    name = f"{stem}.{first}-{first + rows}.ivf"
    path = folder / name
    temporary = path.with_name(name + ".tmp")
    faiss.write_index(index, str(temporary))
    described = _PartFile(first, rows, name, temporary.stat().st_size, _crc(temporary, _HEAD_BYTES), _crc(temporary))
    temporary.replace(path)
    before = _read_manifest(folder, stem, metric)
    kept = [] if before is None else [part for part in before.parts if part.first < first]
    manifest = _Manifest(_FORMAT, metric, [*kept, described])
    target = _manifest_path(folder, stem)
    written = target.with_name(target.name + ".tmp")
    written.write_bytes(msgspec.json.encode(manifest))
    written.replace(target)
    named = {part.file for part in manifest.parts}
    for stale in folder.glob(f"{stem}.*.ivf"):
        if stale.name not in named:
            with suppress(OSError):
                stale.unlink()  # whoever has it mapped keeps it
