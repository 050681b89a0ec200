"""Which rows of a segment come nearest to a query: exact over few or unindexed rows, by the index over the others."""

from collections.abc import Iterator

import msgspec
import numpy as np
import numpy.typing as npt

from kedge.backends.sqlite.ivf import Asked, IvfIndex, prepared
from kedge.backends.sqlite.segment import Ints, Segment, Shown, lengths_of
from kedge.model import scores
from kedge.ports.vectors import Floats

EXACT_ROWS = 10_000  # a view that shows no more is searched exactly: it costs what the index would
WIDER = 4  # how many times as many rows are proposed when those before were not enough
_GATHER_BELOW = 0.3  # of the rows: fewer are copied out and scored alone
_ONE_THREAD_FLOATS = 1 << 18  # a product of no more is made by one thread: more are slower where others are at work
_TINY = np.float32(1e-30)


class Frame(msgspec.Struct, frozen=True):
    """A segment's arrays at the instant of one read transaction, as a view sees them."""

    segment: Segment
    seqs: Ints
    shown: Shown
    matrix: Floats
    norms: Floats
    index: IvfIndex | None


class Ranked(msgspec.Struct, frozen=True):
    """Rows in order of their scores, the nearest first; `whole`: there are no more that the view shows.

    `exact` says that every row was compared.
    """

    rows: Ints
    whole: bool
    exact: bool


def ranked(frame: Frame, query: Floats, metric: str, k: int, margin: int, *, exact: bool) -> Iterator[Ranked]:
    """Yield ever more of the nearest rows, at least `k` and a margin at first, until the view shows no more."""
    if exact or frame.index is None or not frame.index.rows or frame.shown.ranked <= EXACT_ROWS:
        yield from _exactly(frame, query, metric, k + margin)
    else:
        yield from _by_index(frame, frame.index, query, metric, k, margin)


def _exactly(frame: Frame, query: Floats, metric: str, wanted: int) -> Iterator[Ranked]:
    rows = frame.shown.rows
    scores = _scores(frame, rows, query, metric)
    while True:
        best = _best(scores, wanted)
        yield Ranked(rows[best], whole=len(best) == len(rows), exact=True)
        wanted *= WIDER


def _by_index(frame: Frame, index: IvfIndex, query: Floats, metric: str, k: int, margin: int) -> Iterator[Ranked]:
    asked = Asked(prepared(query[None, :], metric), frame.shown, k, k + margin, effort=1)
    tail = frame.shown.rows_from(index.rows)
    tail_scores = _scores(frame, tail, query, metric, first=index.rows)
    while True:
        near, whole = index.search(asked)
        best = _best(tail_scores, asked.wanted)
        rows = np.concatenate([near, tail[best]])
        scores = np.concatenate([_scores(frame, near, query, metric), tail_scores[best]])
        order = _best(scores, asked.wanted)
        is_all = whole and len(near) < asked.wanted and len(near) + len(tail) <= asked.wanted
        yield Ranked(rows[order], whole=is_all, exact=False)
        asked = msgspec.structs.replace(
            asked, k=asked.k * WIDER, wanted=asked.wanted * WIDER, effort=asked.effort * WIDER
        )


def _scores(frame: Frame, rows: Ints, query: Floats, metric: str, first: int = 0) -> Floats:
    """Return float32 scores of rows, which are not before `first`: greater for the nearer."""
    if metric == "cosine":
        query = query / lengths_of(query[None, :])  # its length changes no order, but the products stay within float32
    if len(rows) < _GATHER_BELOW * (len(frame.matrix) - first):
        dots = np.empty(len(rows), np.float32)
        step = max(1, _ONE_THREAD_FLOATS // len(query))
        for start in range(0, len(rows), step):
            dots[start : start + step] = frame.matrix[rows[start : start + step]] @ query
    else:
        dots = np.asarray(frame.matrix[first:] @ query, np.float32)[rows - first]
    norms = frame.norms[rows]
    if metric == "cosine":
        dots /= np.maximum(norms, _TINY)
    elif metric == "l2":
        dots = 2 * dots - norms * norms
    return dots


def _best(scores: Floats, count: int) -> Ints:
    """Return the positions of the `count` greatest scores, greatest first."""
    if count < len(scores):
        top = np.argpartition(scores, len(scores) - count)[len(scores) - count :]
    else:
        top = np.arange(len(scores))
    return top[np.argsort(-scores[top], kind="stable")]


def score_exactly(frame: Frame, rows: Ints, query: Floats, metric: str) -> npt.NDArray[np.float64]:
    """Return the scores of a few rows in float64."""
    return scores.score_exactly(frame.matrix[rows], query, metric)
