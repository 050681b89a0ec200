"""How near to a query the rows of an index's lists come, given how near the centres of the lists are.

A search stops at the list whose rows are, almost surely, no nearer than what it has found. So it is short where a
query has near neighbours, and long where a rollback, a view or a filter has taken them away: what is left then lies
far off, and in lists whose centres say little about it.
"""

from typing import Any

import msgspec
import numpy as np

from kedge.backends.sqlite.segment import Ints
from kedge.ports.vectors import Floats

_SAMPLE_ROWS = 16_384
_SAMPLE_QUERIES = 64
_MISSED_A_LIST = 0.03  # rows of a list that come nearer to a query than the bound, on average
_TINY = 1e-12


class Bound(msgspec.Struct, frozen=True):
    """Rows score at most slope · (score of their list's centre) + spread · width, save for 0.03 of them in each list.

    The width is the query's length for inner products, and its distance from the centre for `l2`. Scores are greater
    for the nearer: `l2` is the negative squared distance.
    """

    slope: float
    spread: float

    def of(self, query: Floats, centres: Floats, metric: str) -> Floats:
        """Return the bounds of lists, given the scores of their centres for a query of shape (1, dim)."""
        return np.asarray(self.slope * centres + self.spread * _width(query, centres[None, :], metric)[0], np.float32)


def sample(rows: int) -> Ints:
    """Return the numbers of some rows to measure a bound by, in order."""
    return np.linspace(0, rows - 1, min(rows, _SAMPLE_ROWS)).astype(np.int64)


def measure(index: Any, rows: Floats, metric: str) -> Bound:
    """Fit the bound to some rows of an index, as it compares them; a few of them stand for queries."""
    chosen = np.unique(np.linspace(0, len(rows) - 1, _SAMPLE_QUERIES).astype(np.int64))
    queries = rows[chosen]
    lists = index.quantizer.search(rows, 1)[1][:, 0]
    scores = _scores(queries, rows, metric)
    centres = _scores(queries, index.quantizer.reconstruct_n(0, index.nlist), metric)[:, lists]
    slope = 1.0 if metric == "l2" else float((scores * centres).sum() / max(_TINY, float((centres * centres).sum())))
    beyond = (scores - slope * centres) / np.maximum(_width(queries, centres, metric), _TINY)
    others = np.ones(beyond.shape, bool)
    others[np.arange(len(chosen)), chosen] = False
    share = _MISSED_A_LIST * index.nlist / index.ntotal
    spread = float(np.quantile(beyond[others], max(0.0, 1 - share))) if others.any() else 0.0
    return Bound(slope, spread)


def _scores(queries: Floats, rows: Floats, metric: str) -> Floats:
    products = queries @ rows.T
    if metric != "l2":
        return products
    squares = (queries * queries).sum(axis=1)[:, None] + (rows * rows).sum(axis=1)
    return np.asarray(2 * products - squares, np.float32)


def _width(queries: Floats, centres: Floats, metric: str) -> Floats:
    """Return what the spread is a multiple of, for each query and the score of each centre."""
    if metric == "l2":
        return np.asarray(np.sqrt(np.maximum(0, -centres)), np.float32)
    return np.broadcast_to(np.sqrt((queries * queries).sum(axis=1))[:, None], centres.shape)
