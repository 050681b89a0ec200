"""IVF index of a segment: immutable faiss files over ranges of rows. The files are caches and may be deleted.

IVF (inverted file: Jegou, Douze, Schmid, "Product Quantization for Nearest Neighbor Search", TPAMI 2011) clusters the
rows by k-means and stores, for each centroid, the list of its rows. A search visits only the lists whose centroids are
nearest to the query. The lists hold 8-bit scalar-quantized vectors (SQ8, faiss `QT_8bit`: each dimension is mapped
linearly to 256 steps), a quarter of float32. The rows that a search proposes are scored again from the segment file.

A search visits a few lists. It goes on as long as another list can contain a visible row nearer than those found
(`list_bounds.py`). So it compensates for rows that a rollback, a view or a filter hides, and only then takes longer.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from kedge.backends.sqlite import list_bounds
from kedge.backends.sqlite.cache_files import Proof, atomic_replace, crc_of, exclusive_lock, index_lock
from kedge.backends.sqlite.list_bounds import ListBound
from kedge.backends.sqlite.segment import Bits, Ints, Small, VisibleRows, lengths_of
from kedge.errors import StorageFull
from kedge.ports.vectors import Floats
from kedge.support.failpoints import reach
from kedge.support.lazy import LazyModule

faiss: Any = LazyModule("faiss")  # typed so, too: its wrappers are generated at import time, its stubs do not match

PROBES = 20  # lists visited first
ROWS_MIN = 20_000  # an exact search over fewer takes no noticeable time
_TRAINING_ROWS_A_LIST = 64
_CHUNK_ROWS = 16_384
_FEWEST_PROBES = 4  # in a part, when other parts have found rows already
_EFFORT_MAX = 8  # a search ends after so many times the visible rows that the first lists hold on average
_TINY = np.float32(1e-30)
_FORMAT = 3
_HEAD_BYTES = 1 << 16  # checked before loading, besides centroids and sizes: faiss trusts the beginning of a file


class PartFile(msgspec.Struct, frozen=True):
    """One index file, as the manifest describes it. `proof` names the write of its last row."""

    first: int
    rows: int
    file: str
    bytes: int
    head_bytes: int
    head_crc: int
    crc: int
    bound: ListBound
    proof: Proof


class _Manifest(msgspec.Struct, frozen=True):
    format: int
    metric: str
    parts: list[PartFile]


class _NearestLists(msgspec.Struct, frozen=True):
    """The lists nearest to a query, in order; `visible` is the cumulative number of visible rows in them."""

    order: Ints
    distances: Floats
    visible: Ints


class Part:
    """One index file over the rows first … first + rows - 1. `first` is a multiple of 8, so bitmaps split at a byte."""

    def __init__(self, first: int, index: Any, bound: ListBound) -> None:
        self.first, self.index, self.bound = first, index, bound
        self.metric = "l2" if index.metric_type == faiss.METRIC_L2 else "ip"
        self.rows: int = index.ntotal
        self.lists: Small = _lists(index)

    def search(self, query: "IvfQuery", best: "TopRows") -> bool:
        """Add the nearest visible rows of this part to `best`; return whether all lists were visited.

        Lists are visited from the nearest on, until no other is likely to hold a row nearer than the `k`-th best.
        """
        nlist: int = self.index.nlist
        done = 0
        lists = self._nearest(query, min(nlist, 4 * PROBES))
        while True:
            probes = self._probes(query, lists, best, done)
            if probes == len(lists.order) < nlist:
                lists = self._nearest(query, nlist)
                probes = self._probes(query, lists, best, done)
            if probes <= done:
                return done == nlist
            best.add(*self._visit(query, lists.order[done:probes], lists.distances[done:probes]))
            done = probes

    def _nearest(self, query: "IvfQuery", count: int) -> "_NearestLists":
        distances, order = self.index.quantizer.search(query.vector, count)
        return _NearestLists(order[0], distances[0], np.cumsum(self._visible_by_list(query.rows)[order[0]]))

    def _probes(self, query: "IvfQuery", lists: "_NearestLists", best: "TopRows", done: int) -> int:
        """Return how many of these lists to visit in all; `done` of them have been visited."""
        if done == 0:
            enough = PROBES * query.effort
        else:
            budget = PROBES * self.rows / self.index.nlist * query.effort * _EFFORT_MAX
            enough = int(np.searchsorted(lists.visible, budget)) + 1
        if best.threshold > -np.inf:
            centroids = self._scores(lists.distances)
            near = self.bound.upper(query.vector, centroids, self.metric) >= best.threshold
            enough = min(enough, max(_FEWEST_PROBES, int(np.count_nonzero(near))))
        return min(len(lists.order), enough)

    def _scores(self, found: Floats) -> Floats:
        return -found if self.metric == "l2" else found

    def _visit(self, query: "IvfQuery", lists: Ints, distances: Floats) -> tuple[Ints, Floats]:
        """Search these lists by the C function of faiss: its Python wrapper for given lists takes no selector."""
        scores, found = np.empty(query.wanted, np.float32), np.empty(query.wanted, np.int64)
        bits = self._bits(query.rows)
        selector = faiss.IDSelectorBitmap(bits)
        parameters = faiss.SearchParametersIVF(sel=selector, nprobe=len(lists))
        lists, distances = np.ascontiguousarray(lists), np.ascontiguousarray(distances)
        pointers = (faiss.swig_ptr(array) for array in (lists, distances, scores, found))
        vector = faiss.swig_ptr(query.vector)
        self.index.search_preassigned_c(1, vector, query.wanted, *pointers, False, parameters)  # noqa: FBT003
        there = (found >= 0) & (found < self.rows)
        return found[there] + self.first, self._scores(scores[there])

    def updated_counts(self, counts: Ints, changed: Ints, visible: npt.NDArray[np.bool_]) -> Ints:
        """Return the number of visible rows in each list, given the former numbers and the rows that changed."""
        within = (changed >= self.first) & (changed < self.first + self.rows)
        lists, visible = self.lists[changed[within] - self.first], visible[within]
        nlist = len(counts)
        return counts + np.bincount(lists[visible], minlength=nlist) - np.bincount(lists[~visible], minlength=nlist)

    def _bits(self, rows: VisibleRows) -> Bits:
        return rows.bits[self.first // 8 : (self.first + self.rows + 7) // 8]

    def _visible_by_list(self, rows: VisibleRows) -> Ints:
        """Return the number of visible rows in each list."""
        counts = rows.list_counts.get(self)
        if counts is None:
            visible = np.unpackbits(self._bits(rows), count=self.rows, bitorder="little").view(bool)
            counts = rows.list_counts[self] = np.bincount(self.lists[visible], minlength=self.index.nlist)
        return counts


class IvfQuery(msgspec.Struct, frozen=True):
    """A query: the vector, of shape (1, dim), and the rows that may be found.

    `wanted` rows are returned. The search ends when the best `k` are likely found; `effort` multiplies its length.
    """

    vector: Floats
    rows: VisibleRows
    k: int
    wanted: int
    effort: int


class TopRows:
    """The best `wanted` rows so far, in order of their scores; `threshold` is the score of the `k`-th."""

    def __init__(self, k: int, wanted: int) -> None:
        self._k, self._wanted = k, wanted
        self.rows: Ints = np.empty(0, np.int64)
        self._scores: Floats = np.empty(0, np.float32)
        self.threshold = -np.inf

    def add(self, rows: Ints, scores: Floats) -> None:
        """Add rows, which must be new."""
        scores = np.concatenate([self._scores, scores])
        order = np.argsort(-scores, kind="stable")[: self._wanted]
        self.rows, self._scores = np.concatenate([self.rows, rows])[order], scores[order]
        if len(order) >= self._k:
            self.threshold = float(self._scores[self._k - 1])


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run faiss on one thread: for a single query, waking a team of threads costs more than the search."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


class IvfIndex:
    """The index parts of one segment. Rows from `rows` on are not indexed."""

    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts
        self.rows = max((part.first + part.rows for part in parts), default=0)

    def search(self, query: IvfQuery) -> tuple[Ints, bool]:
        """Return the rows nearest to the query, and whether all lists were visited."""
        best = TopRows(query.k, query.wanted)
        with _one_thread():
            whole = [part.search(query, best) for part in self.parts]
        return best.rows, all(whole)


def lists_for(rows: int) -> int:
    """Return a number of lists: the power of two nearest to sqrt(rows), so that centroids cost as much as a list."""
    return int(2 ** round(np.log2(max(1, rows)) / 2))


def normalized(rows: Floats, metric: str) -> Floats:
    """Return a copy of the rows as the index compares them: of length 1 for the cosine metric."""
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
    index.train(normalized(matrix[sample], metric))
    _fill(index, matrix[first : first + rows], metric)
    index.own_fields = True
    quantizer.this.disown()
    return index


def _fill(index: Any, matrix: Floats, metric: str) -> None:
    """Add rows to lists of the final size: lists that grow take up to twice the memory."""
    starts = range(0, len(matrix), _CHUNK_ROWS)
    chunks = [slice(start, start + _CHUNK_ROWS) for start in starts]
    nearest = [index.quantizer.search(normalized(matrix[chunk], metric), 1)[1][:, 0] for chunk in chunks]
    for number, size in enumerate(np.bincount(np.concatenate(nearest), minlength=index.nlist).tolist()):
        index.invlists.resize(number, size)
        index.invlists.resize(number, 0)
    for chunk, lists in zip(chunks, nearest, strict=True):
        rows = normalized(matrix[chunk], metric)
        index.add_core(len(rows), faiss.swig_ptr(rows), None, faiss.swig_ptr(np.ascontiguousarray(lists)))


def _lists(index: Any) -> Small:
    """Return the list of each row; raise `IndexError` unless each row is in exactly one list."""
    lists = np.full(index.ntotal, -1, np.int32)
    met = 0
    for number in range(index.nlist):
        size = index.invlists.list_size(number)
        if size:
            lists[faiss.rev_swig_ptr(index.invlists.get_ids(number), size)] = number
            met += size
    if met != len(lists) or (lists < 0).any():
        raise IndexError(f"the lists hold {met} of {len(lists)} rows")
    return lists


# ── files ──


def _manifest_path(folder: Path, stem: str) -> Path:
    return folder / f"{stem}.ivf.json"


def parts_of(folder: Path, stem: str, metric: str) -> list[PartFile]:
    """Return the files that the manifest describes, or [] if there is no usable manifest."""
    try:
        manifest = msgspec.json.decode(_manifest_path(folder, stem).read_bytes(), type=_Manifest)
    except (OSError, msgspec.MsgspecError):
        return []
    return manifest.parts if manifest.format == _FORMAT and manifest.metric == metric else []


def load(folder: Path, parts: list[PartFile]) -> IvfIndex:
    """Return the index of these files, up to the first unusable one."""
    loaded = []
    for described in parts:
        part = _load_part(folder / described.file, described)
        if part is None:
            break  # an index has no gaps
        loaded.append(part)
    return IvfIndex(loaded)


def _load_part(path: Path, described: PartFile) -> Part | None:
    try:
        if not is_sound(path.parent, described, full=False):
            return None
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        faiss.downcast_InvertedLists(index.invlists).prefetch_nthread = 0  # otherwise each search starts 32 threads
        return Part(described.first, index, described.bound) if index.ntotal == described.rows else None
    except (OSError, RuntimeError, IndexError):
        return None


def is_sound(folder: Path, part: PartFile, *, full: bool = True) -> bool:
    """Check the CRC of an index file, or only of its beginning."""
    path = folder / part.file
    try:
        if path.stat().st_size != part.bytes:
            return False
        return crc_of(path) == part.crc if full else crc_of(path, part.head_bytes) == part.head_crc
    except OSError:
        return False


def build_lock(folder: Path, stem: str, *, wait: bool = False) -> AbstractContextManager[bool]:
    """Hold the lock for changes to a segment's index; give False if another holds it and `wait` is not set."""
    return exclusive_lock(index_lock(folder, stem), wait=wait)


def add_part(folder: Path, stem: str, metric: str, matrix: Floats, first: int, proof: Proof) -> PartFile:
    """Index the rows from `first` on, in place of all parts with any of these rows. The caller holds `build_lock`."""
    rows = len(matrix) - first
    for left in folder.glob(f"{stem}.*.ivf.tmp"):  # left by a killed process
        left.unlink(missing_ok=True)
    index = build(matrix, first, rows, metric)
    bound = list_bounds.fit(index, normalized(matrix[first + list_bounds.sample(rows)], metric), metric)
    path = folder / f"{stem}.{first}-{first + rows}.ivf"
    head_bytes = _HEAD_BYTES + index.nlist * (index.d * 4 + 16)
    with atomic_replace(path) as temporary:
        try:
            faiss.write_index(index, str(temporary))
        except RuntimeError as error:
            raise StorageFull(f"no room for the index {path} ({error}); no row is lost: free some space") from error
        size, head_crc, crc = temporary.stat().st_size, crc_of(temporary, head_bytes), crc_of(temporary)
        reach("index:part-written")
    reach("index:part-in-place")
    described = PartFile(first, rows, path.name, size, head_bytes, head_crc, crc, bound, proof)
    kept = [part for part in parts_of(folder, stem, metric) if part.first < first]
    put_parts(folder, stem, metric, [*kept, described])
    return described


def put_parts(folder: Path, stem: str, metric: str, parts: list[PartFile]) -> None:
    """Make these files the index, and delete the others. The caller holds `build_lock`."""
    with atomic_replace(_manifest_path(folder, stem)) as temporary:
        temporary.write_bytes(msgspec.json.encode(_Manifest(_FORMAT, metric, parts)))
        reach("index:manifest-written")
    reach("index:manifest-in-place")
    named = {part.file for part in parts}
    for stale in folder.glob(f"{stem}.*.ivf"):
        if stale.name not in named:
            with suppress(OSError):
                stale.unlink()  # a process that has it mapped keeps it
