"""Mirrored searches: the same queries in the canary's view and in the live one, and how far their hits overlap."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kedge.errors import InvalidValue
from kedge.guard.bets import log_mean, plain, stake
from kedge.guard.settings import FRACTIONS
from kedge.stores.search import Hits
from kedge.turns.kernel import Kernel
from kedge.turns.view import ReadView, open_view

K = 10
QUERIES_MAX = 32
Query = tuple[Any, Any]  # a query vector in the live embedder's space, and the same query in the canary's


def mirrored(
    kernel: Kernel, deployment: str, collection: str, queries: Sequence[Query] | None = None, *, k: int = K
) -> list[float]:
    """Return the overlap of the k best hits of each query, 0 to 1: live view against canary view.

    Without queries, up to 32 stored rows are the queries, each with its own vector in either space; the row itself is
    left out of the hits. A query without a hit in either view says nothing, and is left out.
    """
    live, canary = open_view(kernel), open_view(kernel, deployment=deployment)
    scores = []
    for a, b, own in _stored(kernel, live, canary, collection) if queries is None else _given(queries):
        left = _ids(live.vectors(collection).search(a, k + 1), own, k)
        right = _ids(canary.vectors(collection).search(b, k + 1), own, k)
        if left or right:
            scores.append(len(left & right) / max(len(left), len(right)))
    return scores


def below_floor(scores: Sequence[float], floor: float) -> float:
    """Return the e-value of "the mean overlap is at least the floor": how strongly the scores of one look deny it.

    Scores of distinct queries, drawn at random, are bets on `floor - score`, whose expectation is at most 0 if the mean
    is at least the floor. Sources: those of `ScoreTest`. Queries that are asked again at the next look are no new
    evidence: take one look's e-value alone.
    """
    if not 0 < floor < 1:
        raise InvalidValue(f"invalid floor {floor}: must be above 0 and below 1")
    wealth = [0.0] * len(FRACTIONS)
    for score in scores:
        if not 0 <= score <= 1:
            raise InvalidValue(f"invalid overlap {score}: must be from 0 to 1")
        moves = stake(FRACTIONS, floor - score, 1 - floor)
        wealth = [have + move for have, move in zip(wealth, moves, strict=True)]
    return plain(log_mean(wealth)) if scores and math.isfinite(max(wealth)) else 1.0


def _ids(hits: Hits, own: str | None, k: int) -> set[str]:
    return {hit.id for hit in [hit for hit in hits if hit.id != own][:k]}


def _given(queries: Sequence[Query]) -> Sequence[tuple[Any, Any, str | None]]:
    return [(np.asarray(a, np.float32), np.asarray(b, np.float32), None) for a, b in queries[:QUERIES_MAX]]


def _stored(kernel: Kernel, live: ReadView, canary: ReadView, collection: str) -> Sequence[tuple[Any, Any, str | None]]:
    """Return rows that both views have, with the vector of each in either space."""
    keys = kernel.backend.verification.sample_keys(["vectors"], 8 * QUERIES_MAX)
    names = [key.name for key in keys if key.space == collection][: 2 * QUERIES_MAX]
    a, b = live.vectors(collection).fetch(names), canary.vectors(collection).fetch(names)
    left, right = dict(zip(a.ids, a.vectors, strict=True)), dict(zip(b.ids, b.vectors, strict=True))
    return [(left[name], right[name], name) for name in names if name in left and name in right][:QUERIES_MAX]


__all__ = ["Query", "below_floor", "mirrored"]
