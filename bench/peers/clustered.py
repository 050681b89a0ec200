"""Clustered synthetic vectors; a larger number of rows begins with the same rows."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

SEED = 20261121
CHUNK_ROWS = 10_000
_CLUSTERS = 2_000
_LATENT = 32
_SPREAD = 0.55
_NOISE = 0.25


class Clusters:
    """A source of unit vectors: clusters of uneven size and shape in a space of few directions, and some noise.

    Real embeddings have a few dozen directions that matter, and topics of very different size. A row is its cluster's
    centre, plus a step along `_LATENT` directions that its cluster stretches in its own way, plus noise in all
    directions; lengths are relative to the centre's, which is 1.
    """

    def __init__(self, dim: int, seed: int = SEED) -> None:
        random = np.random.default_rng([seed, dim])
        self.dim = dim
        self._seed = seed
        latent = min(_LATENT, dim)
        self._directions = np.linalg.qr(random.standard_normal((dim, latent)))[0].T.astype(np.float32)
        self._centres = random.standard_normal((_CLUSTERS, latent)).astype(np.float32)
        self._centres /= np.linalg.norm(self._centres, axis=1, keepdims=True)
        stretch = random.gamma(2.0, 1.0, (_CLUSTERS, latent)).astype(np.float32)
        self._stretch = stretch * np.float32(_SPREAD) / np.linalg.norm(stretch, axis=1, keepdims=True)
        weights = 1 / np.arange(1, _CLUSTERS + 1) ** 0.7
        self._weights = weights / weights.sum()

    def rows(self, count: int, stream: int = 0) -> Iterator[Floats]:
        """Yield `count` rows in chunks; another `stream` gives others of the same kind."""
        for begin in range(0, count, CHUNK_ROWS):
            random = np.random.default_rng([self._seed, self.dim, stream, begin])
            chosen = random.choice(_CLUSTERS, CHUNK_ROWS, p=self._weights)
            steps = random.standard_normal((CHUNK_ROWS, self._stretch.shape[1]), np.float32)
            rows = (self._centres[chosen] + steps * self._stretch[chosen]) @ self._directions
            rows += random.standard_normal(rows.shape, np.float32) * np.float32(_NOISE / self.dim**0.5)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            yield rows[: count - begin]

    def take(self, count: int, stream: int) -> Floats:
        """Return `count` rows at once."""
        return np.concatenate(list(self.rows(count, stream)))
