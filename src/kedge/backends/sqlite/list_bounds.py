"""List bounds: an upper bound on the scores of the rows of an IVF list, from the score of the list's centroid.

A search visits lists from the nearest on, and stops at a list whose bound is below what it has found. So a search is
short where a query has near neighbours. It is long where a rollback, a view or a filter has hidden them: the remaining
rows are far away, in lists whose centroids tell little about them.

The bound is linear, fitted to a sample of the index at build time:

    score(row) <= slope * score(centroid) + spread * width(query)

`slope` is the least-squares fit of row scores to centroid scores (1 for l2). `spread` is a quantile of the residuals,
chosen so that 0.03 rows a list exceed the bound on average. For inner products the width is the query's length, by
Cauchy-Schwarz: |q.(x - c)| <= |q| |x - c|. For l2 it is the distance from query to centroid: with the score
-|q - x|^2, expanding around c gives a cross term 2 (q - c).(x - c), at most proportional to |q - c|. The fit is this
project's own: a fixed number of lists (faiss `nprobe`) stops too early where neighbours are hidden.
"""

from typing import Any

import msgspec
import numpy as np

from kedge.backends.sqlite.segment import Ints
from kedge.ports.vectors import Floats

_SAMPLE_ROWS = 16_384
_SAMPLE_QUERIES = 64
_ROWS_ABOVE = 0.03  # rows of a list that score above the bound, on average
_TINY = 1e-12


class ListBound(msgspec.Struct, frozen=True):
    """The fitted bound of one index part. A greater score is nearer: for `l2`, the negative squared distance."""

    slope: float
    spread: float

    def upper(self, query: Floats, centroids: Floats, metric: str) -> Floats:
        """Return the bounds of lists, given their centroids' scores for a query of shape (1, dim)."""
        width = _width(query, centroids[None, :], metric)[0]
        return np.asarray(self.slope * centroids + self.spread * width, np.float32)


def sample(rows: int) -> Ints:
    """Return the numbers of evenly spaced rows to fit a bound to, ascending."""
    return np.linspace(0, rows - 1, min(rows, _SAMPLE_ROWS)).astype(np.int64)


def fit(index: Any, rows: Floats, metric: str) -> ListBound:
    """Fit the bound to some rows of an index, normalized as it compares them; a few of them serve as queries."""
    chosen = np.unique(np.linspace(0, len(rows) - 1, _SAMPLE_QUERIES).astype(np.int64))
    queries = rows[chosen]
    lists = index.quantizer.search(rows, 1)[1][:, 0]
    scores = _scores(queries, rows, metric)
    centroids = _scores(queries, index.quantizer.reconstruct_n(0, index.nlist), metric)[:, lists]
    slope = (
        1.0 if metric == "l2" else float((scores * centroids).sum() / max(_TINY, float((centroids * centroids).sum())))
    )
    beyond = (scores - slope * centroids) / np.maximum(_width(queries, centroids, metric), _TINY)
    others = np.ones(beyond.shape, bool)
    others[np.arange(len(chosen)), chosen] = False
    share = _ROWS_ABOVE * index.nlist / index.ntotal
    spread = float(np.quantile(beyond[others], max(0.0, 1 - share))) if others.any() else 0.0
    return ListBound(slope, spread)


def _scores(queries: Floats, rows: Floats, metric: str) -> Floats:
    products = queries @ rows.T
    if metric != "l2":
        return products
    squares = (queries * queries).sum(axis=1)[:, None] + (rows * rows).sum(axis=1)
    return np.asarray(2 * products - squares, np.float32)


def _width(queries: Floats, centroids: Floats, metric: str) -> Floats:
    """Return the factor of the spread, for each query and each centroid's score."""
    if metric == "l2":
        return np.asarray(np.sqrt(np.maximum(0, -centroids)), np.float32)
    return np.broadcast_to(np.sqrt((queries * queries).sum(axis=1))[:, None], centroids.shape)
