"""Clustered vectors, and the recall of the index on them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

import kedge

DIM = 32
Matrix = npt.NDArray[np.float32]


def clustered(rows: int, seed: int) -> Matrix:
    chance = np.random.default_rng(seed)
    centres = chance.standard_normal((60, DIM))
    points = centres[chance.integers(0, len(centres), rows)] + 0.35 * chance.standard_normal((rows, DIM))
    return points.astype(np.float32)


def recall(view: kedge.ReadView, queries: Matrix) -> float:
    kb = view.vectors("kb")
    shares = []
    for query in queries:
        found, truth = kb.search(query, k=10), kb.search(query, k=10, exact=True)
        assert truth.exact
        assert not found.exact
        shares.append(len({hit.id for hit in found} & {hit.id for hit in truth}) / 10)
    return float(np.mean(shares))
