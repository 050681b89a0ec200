"""Raw faiss with Kedge's own parameters: an IVF of 8-bit codes, and exact scores of what it proposes."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bench.peers.peer import PROBES, By, Floats, Found, Ints, Rows, View

_PROPOSED = 4  # times k, scored again from the mapped file
_TRAINING_ROWS_A_LIST = 64
_LISTS_MIN = 16


class FaissPeer:
    """An index in memory and float32 vectors in a mapped file; beside them arrays by id: places, numbers, deployments.

    There is no log: what is written between `build` and `roll_back` is in memory alone.
    """

    title: ClassVar[str] = "raw faiss"
    index: ClassVar[str] = "IVF-SQ8 and exact re-ranking, Kedge's parameters; no log, so writes are in memory"
    method: ClassVar[str] = "`remove_ids`, `add_with_ids` of the old vectors, and the index file rewritten"
    durable: ClassVar[bool] = False
    efforts: ClassVar[Sequence[int]] = PROBES

    def __init__(self) -> None:
        import faiss  # noqa: PLC0415 - of the group `bench`

        self._faiss: Any = faiss
        self.notes: dict[str, float] = {}

    def version(self) -> str:
        """Return faiss's version."""
        found: str = self._faiss.__version__
        return found

    def create(self, folder: Path, dim: int, expected: int) -> None:
        """Take as many lists as Kedge does; train when the first rows come."""
        lists = max(_LISTS_MIN, 2 ** round(np.log2(max(1, expected)) / 2))
        quantizer = self._faiss.IndexFlatIP(dim)
        metric = self._faiss.METRIC_INNER_PRODUCT
        code = self._faiss.ScalarQuantizer.QT_8bit
        self._index = self._faiss.IndexIVFScalarQuantizer(quantizer, dim, lists, code, metric)
        self._index.own_fields = True
        quantizer.this.disown()
        self._folder, self._dim = folder, dim
        self._begin(np.zeros((3, 0), np.int64))

    def _begin(self, known: Ints) -> None:
        """`known`: for each id the place of its vector (-1: gone), its number, and who wrote it."""
        self._place, self._number, self._by = known.copy()
        self._file = (self._folder / "vectors.f32").open("ab")
        self._written = self._file.tell() // (4 * self._dim)
        self._kept: dict[By, dict[int, tuple[int, int, int]]] = {}
        self._selectors: dict[View, tuple[Any, Any]] = {}
        self._mapped: Floats = np.empty((0, self._dim), np.float32)

    def open(self, folder: Path) -> None:
        """Read the index into memory, and map the vectors."""
        self._folder = folder
        self._index = self._faiss.read_index(str(folder / "index.faiss"))
        self._dim = self._index.d
        self._begin(np.load(folder / "known.npy"))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def load(self, rows: Rows) -> None:
        """Put the vectors into the file; they are indexed by `build`."""
        self._store(rows)

    def _store(self, rows: Rows) -> None:
        self._selectors.clear()
        end = int(rows.ids.max()) + 1
        if end > len(self._place):
            grown = np.full((3, max(end, len(self._place) * 3 // 2)), -1, np.int64)
            grown[:, : len(self._place)] = self._place, self._number, self._by
            self._place, self._number, self._by = grown
        self._file.write(np.ascontiguousarray(rows.vectors).tobytes())
        self._file.flush()
        self._place[rows.ids] = np.arange(self._written, self._written + len(rows))
        self._number[rows.ids], self._by[rows.ids] = rows.numbers, rows.by
        self._written += len(rows)

    def _vectors(self) -> Floats:
        if len(self._mapped) < self._written:
            self._mapped = np.memmap(self._folder / "vectors.f32", np.float32, "r", shape=(self._written, self._dim))
        return self._mapped

    def build(self) -> None:
        """Train on a sample, add what is not in the index, and write it all."""
        ids = np.flatnonzero(self._place >= 0)
        if not self._index.is_trained:
            wanted = min(len(ids), self._index.nlist * _TRAINING_ROWS_A_LIST)
            sample = ids[np.linspace(0, len(ids) - 1, wanted).astype(np.int64)]
            self._index.cp.min_points_per_centroid = 1
            self._index.train(np.ascontiguousarray(self._vectors()[self._place[sample]]))
        for chunk in np.array_split(ids, max(1, len(ids) // 50_000)):
            self._index.add_with_ids(np.ascontiguousarray(self._vectors()[self._place[chunk]]), chunk)
        self._save()

    def _save(self) -> None:
        os.fsync(self._file.fileno())
        self._faiss.write_index(self._index, str(self._folder / "index.faiss.new"))
        with (self._folder / "index.faiss.new").open("rb") as file:
            os.fsync(file.fileno())
        np.save(self._folder / "known.npy", np.stack([self._place, self._number, self._by]))
        (self._folder / "index.faiss.new").replace(self._folder / "index.faiss")

    def add(self, rows: Rows) -> None:
        """Add to file and index."""
        self._store(rows)
        self._index.add_with_ids(np.ascontiguousarray(rows.vectors), rows.ids)

    def overwrite(self, rows: Rows, *, keep: bool) -> None:
        """Take the old codes out and put the new ones in; the old vectors stay in the file."""
        if keep:
            kept = self._kept.setdefault(By(int(rows.by[0])), {})
            for i in rows.ids.tolist():
                kept.setdefault(i, (int(self._place[i]), int(self._number[i]), int(self._by[i])))
        self._index.remove_ids(rows.ids)
        self.add(rows)

    def search(self, query: Floats, k: int, view: View, effort: int) -> list[Found]:
        """Search with that many probes, through a bitmap of ids where the view hides some; score again exactly."""
        parameters = self._faiss.SearchParametersIVF(nprobe=effort, **self._selector(view))
        found = self._index.search(query[None, :], k * _PROPOSED, params=parameters)[1][0]
        found = found[found >= 0]
        scores = self._vectors()[self._place[found]] @ query
        best = found[np.argsort(-scores)[:k]]
        return [Found(i, int(self._number[i])) for i in best.tolist()]

    def _selector(self, view: View) -> dict[str, Any]:
        if not view.tags:
            return {}
        if view not in self._selectors:
            bits: npt.NDArray[np.uint8] = np.packbits(np.isin(self._by, view.tags), bitorder="little")
            self._selectors[view] = (self._faiss.IDSelectorBitmap(bits), bits)
        return {"sel": self._selectors[view][0]}

    def get(self, ids: Sequence[int]) -> dict[int, Found]:
        """Look them up."""
        there = [i for i in ids if i < len(self._place) and self._place[i] >= 0]
        return {i: Found(i, int(self._number[i]), np.asarray(self._vectors()[self._place[i]])) for i in there}

    def count(self) -> int:
        """Count what the index holds."""
        found: int = self._index.ntotal
        return found

    def roll_back(self, by: By) -> None:
        """Take out what is still this deployment's, and put back what it wrote over."""
        began = time.perf_counter()
        mine = np.flatnonzero((self._by == by) & (self._place >= 0))
        self._index.remove_ids(mine)
        self._place[mine] = -1
        self._by[mine] = -1
        gone = set(mine.tolist())
        back = {i: old for i, old in self._kept.pop(by, {}).items() if i in gone}
        if back:
            ids = np.fromiter(back, np.int64)
            self._place[ids], self._number[ids], self._by[ids] = np.array(list(back.values())).T
            self._index.add_with_ids(np.ascontiguousarray(self._vectors()[self._place[ids]]), ids)
        self._selectors.clear()
        self.notes["in memory alone, seconds"] = time.perf_counter() - began
        self._save()

    def processes(self) -> list[int]:
        """This process alone."""
        return [os.getpid()]
