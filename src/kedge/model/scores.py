"""Exact vector scores in float64, identical on every backend."""

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
_CHUNK_FLOATS = 1 << 20  # converted to float64 at a time
_TIE_BITS = 40  # of the mantissa: scores that agree in these are ties. Float64 sums of equal values may differ beyond


def score_exactly(rows: npt.NDArray[np.float32], query: npt.NDArray[np.float32], metric: str) -> Scores:
    """Return the float64 scores of vectors; a nearer vector scores higher."""
    found = np.empty(len(rows), np.float64)
    wanted = query.astype(np.float64)
    step = max(1, _CHUNK_FLOATS // max(1, len(query)))
    for first in range(0, len(rows), step):
        found[first : first + step] = _score(rows[first : first + step].astype(np.float64), wanted, metric)
    return found


def _score(vectors: Scores, wanted: Scores, metric: str) -> Scores:
    dots: Scores = (vectors * wanted).sum(axis=1)
    if metric == "cosine":
        lengths = np.sqrt((vectors * vectors).sum(axis=1)) * np.sqrt((wanted * wanted).sum())
        dots /= np.maximum(lengths, 1e-300)
    elif metric == "l2":
        gaps = vectors - wanted
        dots = -(gaps * gaps).sum(axis=1)
    return dots


def rounded(scores: Scores) -> Scores:
    """Return scores without the noise of float64 sums: rows whose rounded scores are equal rank by their ids."""
    mantissas, exponents = np.frexp(scores)
    found: Scores = np.ldexp(np.rint(np.ldexp(mantissas, _TIE_BITS)), exponents - _TIE_BITS)
    return found
