"""A plain array, searched in full: the reference, kept in memory only."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.peers.peer import By, Floats, Found, Ints, Rows, View


class NumpyPeer:
    """Rows by place in arrays that grow; a dictionary finds them by id."""

    title: ClassVar[str] = "numpy"
    index: ClassVar[str] = "none: exact, in memory, not durable"
    method: ClassVar[str] = "a mask for what was added, old vectors copied back"
    durable: ClassVar[bool] = False
    efforts: ClassVar[Sequence[int]] = (0,)

    def version(self) -> str:
        """Return numpy's version."""
        return np.__version__

    def create(self, folder: Path, dim: int, expected: int) -> None:
        """Make room."""
        self._path = folder / "rows.npz"
        self._vectors: Floats = np.empty((max(expected, 1), dim), np.float32)
        self._numbers: Ints = np.empty(len(self._vectors), np.int64)
        self._by: npt.NDArray[np.int8] = np.full(len(self._vectors), -1, np.int8)
        self._ids: Ints = np.empty(len(self._vectors), np.int64)
        self._places: dict[int, int] = {}
        self._used = 0
        self._kept: dict[By, list[tuple[int, int, int, Floats]]] = {}

    def open(self, folder: Path) -> None:
        """Read what `build` has written."""
        with np.load(folder / "rows.npz") as there:
            self.create(folder, there["vectors"].shape[1], len(there["vectors"]))
            self.load(Rows(there["ids"], there["vectors"], there["numbers"], there["by"]))

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def load(self, rows: Rows) -> None:
        """Append."""
        end = self._used + len(rows)
        if end > len(self._vectors):
            self._grow(max(end, len(self._vectors) * 3 // 2))
        mine = slice(self._used, end)
        self._vectors[mine], self._numbers[mine], self._by[mine], self._ids[mine] = (
            rows.vectors, rows.numbers, rows.by, rows.ids,
        )  # fmt: skip
        self._places.update(zip(rows.ids.tolist(), range(self._used, end), strict=True))
        self._used = end

    def _grow(self, room: int) -> None:
        more = room - len(self._vectors)
        self._vectors = np.concatenate([self._vectors, np.empty((more, self._vectors.shape[1]), np.float32)])
        self._numbers = np.concatenate([self._numbers, np.empty(more, np.int64)])
        self._by = np.concatenate([self._by, np.full(more, -1, np.int8)])
        self._ids = np.concatenate([self._ids, np.empty(more, np.int64)])

    def build(self) -> None:
        """Write everything to a file, so that another process can read it."""
        used = slice(0, self._used)
        np.savez(
            self._path, vectors=self._vectors[used], numbers=self._numbers[used], by=self._by[used], ids=self._ids[used]
        )

    def add(self, rows: Rows) -> None:
        """Append."""
        self.load(rows)

    def overwrite(self, rows: Rows, *, keep: bool) -> None:
        """Write in place."""
        places = np.array([self._places[i] for i in rows.ids.tolist()])
        if keep:
            self._kept.setdefault(By(int(rows.by[0])), []).extend(
                (int(p), int(self._numbers[p]), int(self._by[p]), self._vectors[p].copy()) for p in places
            )
        self._vectors[places], self._numbers[places], self._by[places] = rows.vectors, rows.numbers, rows.by

    def search(self, query: Floats, k: int, view: View, effort: int) -> list[Found]:
        """Compare with every row, and drop what the view does not show."""
        del effort
        by = self._by[: self._used]
        scores = self._vectors[: self._used] @ query
        scores[~np.isin(by, view.tags) if view.tags else by < 0] = -np.inf
        best = np.argpartition(-scores, min(k, len(scores) - 1))[:k]
        best = best[np.argsort(-scores[best])]
        return [Found(int(self._ids[p]), int(self._numbers[p])) for p in best if scores[p] > -np.inf]

    def get(self, ids: Sequence[int]) -> dict[int, Found]:
        """Look them up."""
        places = {i: self._places[i] for i in ids if i in self._places}
        return {i: Found(i, int(self._numbers[p]), self._vectors[p]) for i, p in places.items() if self._by[p] >= 0}

    def count(self) -> int:
        """Count."""
        return int((self._by[: self._used] >= 0).sum())

    def roll_back(self, by: By) -> None:
        """Mask what is still this deployment's; bring back what it wrote over."""
        mine = self._by == by
        self._by[mine] = -1
        for place, number, old_by, vector in self._kept.pop(by, ()):
            if mine[place]:
                self._vectors[place], self._numbers[place], self._by[place] = vector, number, old_by

    def processes(self) -> list[int]:
        """This process alone."""
        return [os.getpid()]
