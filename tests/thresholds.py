"""How tests have a handful of vectors indexed: thresholds lowered, and indexes built only when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kedge.backends.sqlite import indexes, ivf, ranking

LISTS = 4  # all of which a search visits, so that its answer must be brute force's


@contextmanager
def lowered(rows_min: int = 8, exact_rows: int = 3) -> Iterator[None]:
    """Index segments of `rows_min` rows, and search by the index where a view shows more than `exact_rows`.

    Nothing is built in the background: `k.optimize()` seals what there is, at that moment and at no other.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ivf, "ROWS_MIN", rows_min)
        patch.setattr(ivf, "lists_for", lambda _: LISTS)
        patch.setattr(ranking, "EXACT_ROWS", exact_rows)
        patch.setattr(indexes, "_LOOK_SECONDS", 0.0)
        patch.setattr(indexes.Indexes, "_build_behind", lambda *_: None)
        yield
