"""The approximate index of a segment: immutable faiss IVF files over ranges of rows. Caches: delete them at will.

The lists are 8-bit scalar-quantised; what they propose is scored again from the segment file. A search visits a few
lists, and goes on for as long as another may hold rows that the view shows and that are nearer than those found
(`bounds.py`): what a rollback, a view or a filter hides is made up for by going further, and only there.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import faiss as typed_faiss
import msgspec
import numpy as np
import numpy.typing as npt

from kedge.backends.sqlite import bounds
from kedge.backends.sqlite.bounds import Bound
from kedge.backends.sqlite.caches import Proof, alone, crc_of, index_lock, replacing
from kedge.backends.sqlite.segment import Bits, Ints, Shown, Small, lengths_of
from kedge.errors import StorageFull
from kedge.ports.vectors import Floats
from kedge.support.failpoints import reach

faiss: Any = typed_faiss  # its wrappers are made at import time: what its stubs say is not what it takes

PROBES = 20  # lists visited first
ROWS_MIN = 20_000  # fewer are searched exactly in no time
_TRAINING_ROWS_A_LIST = 64
_CHUNK_ROWS = 16_384
_FEWEST_PROBES = 4  # where other parts have found something already
_EFFORT_MAX = 8  # a search ends when it has met as many rows that the view shows as these times the first lists hold
_TINY = np.float32(1e-30)
_FORMAT = 3
_HEAD_BYTES = 1 << 16  # of a file, besides centroids and sizes: what faiss follows blindly stands at the beginning


class PartFile(msgspec.Struct, frozen=True):
    """One index file as the manifest describes it; its last row is of the write that `proof` tells."""

    first: int
    rows: int
    file: str
    bytes: int
    head_bytes: int
    head_crc: int
    crc: int
    bound: Bound
    proof: Proof


class _Manifest(msgspec.Struct, frozen=True):
    format: int
    metric: str
    parts: list[PartFile]


class _Nearest(msgspec.Struct, frozen=True):
    """The lists nearest to a query, in order; `met` counts the rows that the view shows in each and all before."""

    order: Ints
    distances: Floats
    met: Ints


class Part:
    """One index file over the rows first … first + rows - 1; `first` is a multiple of 8, so that bits can be cut."""

    def __init__(self, first: int, index: Any, bound: Bound) -> None:
        self.first, self.index, self.bound = first, index, bound
        self.metric = "l2" if index.metric_type == faiss.METRIC_L2 else "ip"
        self.rows: int = index.ntotal
        self.lists: Small = _lists(index)

    def search(self, asked: "Asked", best: "Best") -> bool:
        """Add to the `best` rows those of this part that the view shows; return whether all lists were visited.

        Lists are visited, nearest first, until no other is likely to hold a row that is nearer than the `k`-th best.
        """
        nlist: int = self.index.nlist
        done = 0
        lists = self._nearest(asked, min(nlist, 4 * PROBES))
        while True:
            probes = self._probes(asked, lists, best, done)
            if probes == len(lists.order) < nlist:
                lists = self._nearest(asked, nlist)
                probes = self._probes(asked, lists, best, done)
            if probes <= done:
                return done == nlist
            best.add(*self._visit(asked, lists.order[done:probes], lists.distances[done:probes]))
            done = probes

    def _nearest(self, asked: "Asked", count: int) -> "_Nearest":
        distances, order = self.index.quantizer.search(asked.query, count)
        return _Nearest(order[0], distances[0], np.cumsum(self._shown_by_list(asked.shown)[order[0]]))

    def _probes(self, asked: "Asked", lists: "_Nearest", best: "Best", done: int) -> int:
        """Return how many of these lists to visit, `done` of which were."""
        if done == 0:
            enough = PROBES * asked.effort
        else:
            budget = PROBES * self.rows / self.index.nlist * asked.effort * _EFFORT_MAX
            enough = int(np.searchsorted(lists.met, budget)) + 1
        if best.threshold > -np.inf:
            centres = self._nearness(lists.distances)
            near = self.bound.of(asked.query, centres, self.metric) >= best.threshold
            enough = min(enough, max(_FEWEST_PROBES, int(np.count_nonzero(near))))
        return min(len(lists.order), enough)

    def _nearness(self, found: Floats) -> Floats:
        return -found if self.metric == "l2" else found

    def _visit(self, asked: "Asked", lists: Ints, distances: Floats) -> tuple[Ints, Floats]:
        """Search these lists, which faiss then need not find again; its wrapper for that takes no selector."""
        scores, found = np.empty(asked.wanted, np.float32), np.empty(asked.wanted, np.int64)
        bits = self._bits(asked.shown)
        selector = faiss.IDSelectorBitmap(bits)
        parameters = faiss.SearchParametersIVF(sel=selector, nprobe=len(lists))
        lists, distances = np.ascontiguousarray(lists), np.ascontiguousarray(distances)
        pointers = (faiss.swig_ptr(array) for array in (lists, distances, scores, found))
        query = faiss.swig_ptr(asked.query)
        self.index.search_preassigned_c(1, query, asked.wanted, *pointers, False, parameters)  # noqa: FBT003
        there = (found >= 0) & (found < self.rows)
        return found[there] + self.first, self._nearness(scores[there])

    def recounted(self, counts: Ints, flipped: Ints, shown: npt.NDArray[np.bool_]) -> Ints:
        """Return how many rows are shown in each list, given how many were, and which rows have come or gone."""
        within = (flipped >= self.first) & (flipped < self.first + self.rows)
        lists, shown = self.lists[flipped[within] - self.first], shown[within]
        nlist = len(counts)
        return counts + np.bincount(lists[shown], minlength=nlist) - np.bincount(lists[~shown], minlength=nlist)

    def _bits(self, shown: Shown) -> Bits:
        return shown.bits[self.first // 8 : (self.first + self.rows + 7) // 8]

    def _shown_by_list(self, shown: Shown) -> Ints:
        """Return how many rows the view shows in each list."""
        counts = shown.counts.get(self)
        if counts is None:
            visible = np.unpackbits(self._bits(shown), count=self.rows, bitorder="little").view(bool)
            counts = shown.counts[self] = np.bincount(self.lists[visible], minlength=self.index.nlist)
        return counts


class Asked(msgspec.Struct, frozen=True):
    """What is searched for: `wanted` rows that a view shows, near a query of shape (1, dim), the best `k` surely."""

    query: Floats
    shown: Shown
    k: int
    wanted: int
    effort: int


class Best:
    """The rows found so far, in order of their scores, and what the `k`-th scores."""

    def __init__(self, k: int, wanted: int) -> None:
        self._k, self._wanted = k, wanted
        self.rows: Ints = np.empty(0, np.int64)
        self._scores: Floats = np.empty(0, np.float32)
        self.threshold = -np.inf

    def add(self, rows: Ints, scores: Floats) -> None:
        """Take in more rows, which are not here yet."""
        scores = np.concatenate([self._scores, scores])
        order = np.argsort(-scores, kind="stable")[: self._wanted]
        self.rows, self._scores = np.concatenate([self.rows, rows])[order], scores[order]
        if len(order) >= self._k:
            self.threshold = float(self._scores[self._k - 1])


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

    def search(self, asked: Asked) -> tuple[Ints, bool]:
        """Return rows that the view shows and that are near the query, and whether all were compared."""
        best = Best(asked.k, asked.wanted)
        with _one_thread():
            whole = [part.search(asked, best) for part in self.parts]
        return best.rows, all(whole)


def lists_for(rows: int) -> int:
    """Return a number of lists: the power of two next to the square root, so that lists and centroids cost alike."""
    return int(2 ** round(np.log2(max(1, rows)) / 2))


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
    _fill(index, matrix[first : first + rows], metric)
    index.own_fields = True
    quantizer.this.disown()
    return index


def _fill(index: Any, matrix: Floats, metric: str) -> None:
    """Add rows to lists that are made as long as they will be: lists that grow take up to twice the room."""
    starts = range(0, len(matrix), _CHUNK_ROWS)
    chunks = [slice(start, start + _CHUNK_ROWS) for start in starts]
    nearest = [index.quantizer.search(prepared(matrix[chunk], metric), 1)[1][:, 0] for chunk in chunks]
    for number, size in enumerate(np.bincount(np.concatenate(nearest), minlength=index.nlist).tolist()):
        index.invlists.resize(number, size)
        index.invlists.resize(number, 0)
    for chunk, lists in zip(chunks, nearest, strict=True):
        rows = prepared(matrix[chunk], metric)
        index.add_core(len(rows), faiss.swig_ptr(rows), None, faiss.swig_ptr(np.ascontiguousarray(lists)))


def _lists(index: Any) -> Small:
    """Return the list that each row is in; raise `IndexError` where it is not in one list and in no other."""
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
    """Return what the manifest describes, or nothing where there is none that can be used."""
    try:
        manifest = msgspec.json.decode(_manifest_path(folder, stem).read_bytes(), type=_Manifest)
    except (OSError, msgspec.MsgspecError):
        return []
    return manifest.parts if manifest.format == _FORMAT and manifest.metric == metric else []


def load(folder: Path, parts: list[PartFile]) -> IvfIndex:
    """Return what is indexed by these files, the first of them that cannot be used and all after it left out."""
    loaded = []
    for described in parts:
        part = _load_part(folder / described.file, described)
        if part is None:
            break  # rows are indexed from the first on without a gap
        loaded.append(part)
    return IvfIndex(loaded)


def _load_part(path: Path, described: PartFile) -> Part | None:
    try:
        if not is_sound(path.parent, described, full=False):
            return None
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        faiss.downcast_InvertedLists(index.invlists).prefetch_nthread = 0  # or each search starts 32 threads
        return Part(described.first, index, described.bound) if index.ntotal == described.rows else None
    except (OSError, RuntimeError, IndexError):
        return None


def is_sound(folder: Path, part: PartFile, *, full: bool = True) -> bool:
    """Read an index file in full, or what it begins with, and say whether it is what was written."""
    path = folder / part.file
    try:
        if path.stat().st_size != part.bytes:
            return False
        return crc_of(path) == part.crc if full else crc_of(path, part.head_bytes) == part.head_crc
    except OSError:
        return False


def building(folder: Path, stem: str, *, wait: bool = False) -> AbstractContextManager[bool]:
    """Let one at a time change a segment's index; where another does, wait for it, or give False."""
    return alone(index_lock(folder, stem), wait=wait)


def add_part(folder: Path, stem: str, metric: str, matrix: Floats, first: int, proof: Proof) -> PartFile:
    """Index the rows from `first` on, in place of all parts that hold any of them. The caller is `building` alone."""
    rows = len(matrix) - first
    for left in folder.glob(f"{stem}.*.ivf.tmp"):  # by a process that was killed
        left.unlink(missing_ok=True)
    index = build(matrix, first, rows, metric)
    bound = bounds.measure(index, prepared(matrix[first + bounds.sample(rows)], metric), metric)
    path = folder / f"{stem}.{first}-{first + rows}.ivf"
    head_bytes = _HEAD_BYTES + index.nlist * (index.d * 4 + 16)
    with replacing(path) as temporary:
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
    """Make these files the index, and take all others away. The caller is `building` alone."""
    with replacing(_manifest_path(folder, stem)) as temporary:
        temporary.write_bytes(msgspec.json.encode(_Manifest(_FORMAT, metric, parts)))
        reach("index:manifest-written")
    reach("index:manifest-in-place")
    named = {part.file for part in parts}
    for stale in folder.glob(f"{stem}.*.ivf"):
        if stale.name not in named:
            with suppress(OSError):
                stale.unlink()  # whoever has it mapped keeps it
