"""Ranking of a segment's rows by their distance to a query: exact, or by the IVF index.

Few rows, and rows that are not indexed yet, are compared one by one. Scores here are float32 and only order the rows;
`score_exactly` gives the float64 scores that a search returns.
"""

from collections.abc import Iterator

import msgspec
import numpy as np
import numpy.typing as npt

from kedge.backends.sqlite.ivf import IvfIndex, IvfQuery, normalized
from kedge.backends.sqlite.segment import Ints, VisibleRows, lengths_of
from kedge.backends.sqlite.segment_snapshots import SegmentSnapshot
from kedge.model import scores
from kedge.ports.vectors import Floats

EXACT_ROWS = 10_000  # up to so many visible rows, an exact search costs no more than the index
WIDER = 4  # growth of the number of proposed rows when the former ones were too few
_GATHER_BELOW = 0.3  # share of the rows: fewer are copied and scored alone
_ONE_THREAD_FLOATS = 1 << 18  # a smaller product uses one thread: several are slower on a busy machine
_TINY = np.float32(1e-30)


class Ranked(msgspec.Struct, frozen=True):
    """Rows in order of their scores, the nearest first.

    `whole`: these are all rows to rank. `exact`: every row to rank was compared.
    """

    rows: Ints
    whole: bool
    exact: bool


class Ranking(msgspec.Struct, frozen=True):
    """The ranking of some rows of a segment: `k` rows are wanted, and `margin` more to score again."""

    snapshot: SegmentSnapshot
    rows: VisibleRows
    query: Floats
    metric: str
    k: int
    margin: int

    def batches(self, *, exact: bool) -> Iterator[Ranked]:
        """Yield the nearest rows, at least `k + margin`, then ever longer lists of them, until all rows are ranked."""
        index = self.snapshot.index
        if exact or index is None or not index.rows or self.rows.count <= EXACT_ROWS:
            return self._exactly()
        return self._by_index(index)

    def _exactly(self) -> Iterator[Ranked]:
        rows, wanted = self.rows.rows, self.k + self.margin
        scores = self._scores(rows)
        while True:
            best = _best(scores, wanted)
            yield Ranked(rows[best], whole=len(best) == len(rows), exact=True)
            wanted *= WIDER

    def _by_index(self, index: IvfIndex) -> Iterator[Ranked]:
        asked = IvfQuery(
            normalized(self.query[None, :], self.metric), self.rows, self.k, self.k + self.margin, effort=1
        )
        tail = self.rows.rows_from(index.rows)  # not indexed yet
        tail_scores = self._scores(tail, first=index.rows)
        while True:
            near, whole = index.search(asked)
            best = _best(tail_scores, asked.wanted)
            rows = np.concatenate([near, tail[best]])
            scores = np.concatenate([self._scores(near), tail_scores[best]])
            order = _best(scores, asked.wanted)
            is_all = whole and len(near) < asked.wanted and len(near) + len(tail) <= asked.wanted
            yield Ranked(rows[order], whole=is_all, exact=False)
            asked = msgspec.structs.replace(
                asked, k=asked.k * WIDER, wanted=asked.wanted * WIDER, effort=asked.effort * WIDER
            )

    def _scores(self, rows: Ints, first: int = 0) -> Floats:
        """Return float32 scores of rows, none of them before `first`: greater is nearer.

        For `l2` the score is 2·(row · query) - |row|²: the negative squared distance, plus |query|².
        """
        query, matrix = self.query, self.snapshot.matrix
        if self.metric == "cosine":
            query = query / lengths_of(query[None, :])  # this changes no order, and keeps the products within float32
        if len(rows) < _GATHER_BELOW * (len(matrix) - first):
            dots = np.empty(len(rows), np.float32)
            step = max(1, _ONE_THREAD_FLOATS // len(query))
            for start in range(0, len(rows), step):
                dots[start : start + step] = matrix[rows[start : start + step]] @ query
        else:
            dots = np.asarray(matrix[first:] @ query, np.float32)[rows - first]
        norms = self.snapshot.norms[rows]
        if self.metric == "cosine":
            dots /= np.maximum(norms, _TINY)
        elif self.metric == "l2":
            dots = 2 * dots - norms * norms
        return dots


def _best(scores: Floats, count: int) -> Ints:
    """Return the positions of the `count` greatest scores, greatest first."""
    if count < len(scores):
        top = np.argpartition(scores, len(scores) - count)[len(scores) - count :]
    else:
        top = np.arange(len(scores))
    return top[np.argsort(-scores[top], kind="stable")]


def score_exactly(snapshot: SegmentSnapshot, rows: Ints, query: Floats, metric: str) -> npt.NDArray[np.float64]:
    """Return the scores of a few rows in float64."""
    return scores.score_exactly(snapshot.matrix[rows], query, metric)
