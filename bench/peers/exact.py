"""Exact nearest rows, by brute force over a mapped file."""

import numpy as np
import numpy.typing as npt

from bench.peers.peer import Floats, Ints

_ROWS_AT_ONCE = 50_000


def nearest(
    rows: Floats, queries: Floats, k: int, shown: npt.NDArray[np.bool_] | None = None
) -> tuple[Ints, npt.NDArray[np.float32]]:
    """Return places and scores of the `k` rows nearest to each query, best first; of those `shown`, if given.

    Where there are fewer than `k`, places of -1 follow.
    """
    places = np.full((len(queries), k), -1, np.int64)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    for begin in range(0, len(rows), _ROWS_AT_ONCE):
        block = np.arange(begin, min(begin + _ROWS_AT_ONCE, len(rows)))
        if shown is not None:
            block = block[shown[block]]
        if not len(block):
            continue
        new = queries @ (rows[block].T if shown is not None else rows[begin : begin + _ROWS_AT_ONCE].T)
        keep = min(k, len(block))
        best = np.argpartition(-new, keep - 1, axis=1)[:, :keep]
        all_scores = np.concatenate([scores, np.take_along_axis(new, best, 1)], axis=1)
        all_places = np.concatenate([places, block[best]], axis=1)
        order = np.argsort(-all_scores, axis=1, kind="stable")[:, :k]
        scores = np.take_along_axis(all_scores, order, 1)
        places = np.take_along_axis(all_places, order, 1)
    return places, scores


def recall(found: list[list[int]], truth: Ints) -> float:
    """Return which share of the true neighbours was found."""
    wanted = [set(row[row >= 0].tolist()) for row in truth]
    total = sum(map(len, wanted))
    return sum(len(want & set(got)) for want, got in zip(wanted, found, strict=True)) / total if total else 1.0
