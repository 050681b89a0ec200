"""Exact vector scores in float64, identical on every backend."""

import numpy as np
import numpy.typing as npt


def score_exactly(
    rows: npt.NDArray[np.float32], query: npt.NDArray[np.float32], metric: str
) -> npt.NDArray[np.float64]:
    """Return the float64 scores of vectors; a nearer vector scores higher."""
    vectors = rows.astype(np.float64)
    wanted = query.astype(np.float64)
    dots: npt.NDArray[np.float64] = (vectors * wanted).sum(axis=1)
    if metric == "cosine":
        lengths = np.sqrt((vectors * vectors).sum(axis=1)) * np.sqrt((wanted * wanted).sum())
        dots /= np.maximum(lengths, 1e-300)
    elif metric == "l2":
        gaps = vectors - wanted
        dots = -(gaps * gaps).sum(axis=1)
    return dots
