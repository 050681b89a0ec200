"""Ranking of a segment's rows by their distance to a query: exact, or by the IVF index.

Few rows, and rows that are not indexed yet, are compared one by one, in float32. Each gets an upper bound of its score
that no rounding can exceed, so that a row is left out only if it is surely worse than the rows proposed. These are
scored again in float64 (`score_exactly`), and the search returns these scores.
"""

from collections.abc import Iterator

import msgspec
import numpy as np

from kedge.backends.sqlite.ivf import IvfIndex, IvfQuery, normalized
from kedge.backends.sqlite.segment import Ints, VisibleRows
from kedge.backends.sqlite.segment_snapshots import SegmentSnapshot
from kedge.model import scores
from kedge.model.scores import Scores
from kedge.ports.vectors import Floats

EXACT_ROWS = 10_000  # up to so many visible rows, an exact search costs no more than the index
WIDER = 4  # growth of the number of proposed rows when the former ones were too few
_GATHER_BELOW = 0.3  # share of the rows: fewer are copied and scored alone
_ONE_THREAD_FLOATS = 1 << 18  # a smaller product uses one thread: several are slower on a busy machine
_CHUNK_FLOATS = 1 << 22  # copied at a time from the mapped file
# Of a sum of n float32 products, |error| ≤ n·u / (1 - n·u) · |row| · |query| in any order (Higham, "Accuracy and
# Stability of Numerical Algorithms", §3.1), with u = 2⁻²⁴; n·u is below 0.001. Each underflow adds at most 2⁻¹²⁶.
_UNIT_ERROR = 1.01 * 2.0**-24
_UNDERFLOW = 2.0**-126
_FLOAT64_NOISE = 1e-12


class Ranked(msgspec.Struct, frozen=True):
    """The nearest rows. `whole`: these are all rows to rank. `exact`: every row to rank was compared.

    If `exact`, no row that is left out scores more than `beyond`.
    """

    rows: Ints
    whole: bool
    exact: bool
    beyond: float = -np.inf


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
        rows, wanted = self.rows.rows, self._wanted()
        bounds = self._bounds(rows)
        while True:
            if wanted >= len(rows):
                yield Ranked(rows, whole=True, exact=True)
                return
            best = _best(bounds, wanted + 1)
            yield Ranked(rows[best[:wanted]], whole=False, exact=True, beyond=float(bounds[best[wanted]]))
            wanted *= WIDER

    def _wanted(self) -> int:
        """Return how many rows are likely to hold enough heads, within limits."""
        visible, least = self.snapshot.visible, self.k + self.margin
        return min(least * WIDER**2, self.k * visible.count * 3 // (2 * max(1, visible.heads)) + self.margin)

    def _by_index(self, index: IvfIndex) -> Iterator[Ranked]:
        vector = normalized(self.query[None, :], self.metric)
        k, wanted, effort = self.k, min(self.k + self.margin, self.rows.count), 1
        tail = self.rows.rows_from(index.rows)  # not indexed yet
        bounds = self._bounds(tail, first=index.rows)
        while True:
            near, whole = index.search(IvfQuery(vector, self.rows, k, wanted, effort))
            rows = np.concatenate([near, tail[_best(bounds, wanted)]])
            best = _best(score_exactly(self.snapshot, rows, self.query, self.metric), wanted)
            is_all = whole and len(near) < wanted and len(near) + len(tail) <= wanted
            yield Ranked(rows[best], whole=is_all, exact=False)
            k, wanted, effort = k * WIDER, wanted * WIDER, effort * WIDER

    def _bounds(self, rows: Ints, first: int = 0) -> Scores:
        """Return upper bounds of the scores of rows, none of them before `first`."""
        query = self.query.astype(np.float64)
        length = float(np.sqrt((query * query).sum()))
        unit = (query / (length or 1.0)).astype(np.float32)  # keeps the products within float32
        norms = self.snapshot.norms[rows].astype(np.float64)
        error = (len(query) + 4) * _UNIT_ERROR
        with np.errstate(all="ignore"):
            dots = self._products(unit, rows, first) + error * norms + len(query) * _UNDERFLOW * (1.0 + norms)
            if self.metric == "cosine":
                bounds = dots / norms + error
            elif self.metric == "dot":
                bounds = length * dots
            else:  # -|row - query|² = 2 (row · query) - |row|² - |query|²
                noise = _FLOAT64_NOISE * (norms + length) ** 2 + _UNDERFLOW * norms
                bounds = 2 * length * dots - (1 - 4 * _UNIT_ERROR) * norms * norms - length * length + noise
        bounds[np.isnan(bounds)] = np.inf  # an overflow says nothing
        return bounds

    def _products(self, unit: Floats, rows: Ints, first: int) -> Scores:
        """Return the products of rows and a vector, computed in float32."""
        matrix = self.snapshot.matrix
        if len(rows) >= _GATHER_BELOW * (len(matrix) - first):
            return np.asarray(matrix[first:] @ unit, np.float64)[rows - first]
        dots = np.empty(len(rows), np.float64)
        step = max(1, _ONE_THREAD_FLOATS // len(unit))
        for start in range(0, len(rows), step):
            dots[start : start + step] = matrix[rows[start : start + step]] @ unit
        return dots


def _best(scores: Scores, count: int) -> Ints:
    """Return the positions of the `count` greatest scores, greatest first."""
    if count < len(scores):
        top = np.argpartition(scores, len(scores) - count)[len(scores) - count :]
    else:
        top = np.arange(len(scores))
    return top[np.argsort(-scores[top], kind="stable")]


def score_exactly(snapshot: SegmentSnapshot, rows: Ints, query: Floats, metric: str) -> Scores:
    """Return the scores of rows in float64."""
    found = np.empty(len(rows), np.float64)
    step = max(1, _CHUNK_FLOATS // len(query))
    for start in range(0, len(rows), step):
        part = snapshot.matrix[rows[start : start + step]]
        found[start : start + step] = scores.score_exactly(part, query, metric)
    return found
