"""Lowered thresholds, so that a few rows are indexed and cached like millions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from kedge.backends.sqlite import indexes, ivf, ranking, row_cache, segment_writer

ROWS_MIN = 200
LISTS = 4  # all of which a search visits, so that its answer must be brute force's


def lower(rows: int = ROWS_MIN, *, behind: bool = True, put: Callable[[object, str, object], None] = setattr) -> None:
    """Index and cache collections of at least `rows` rows; without `behind`, not in the background."""
    put(ivf, "ROWS_MIN", rows)
    put(row_cache, "ROWS_MIN", rows)
    put(ranking, "EXACT_ROWS", rows // 5)
    put(indexes, "_LOOK_SECONDS", 0.0)
    put(segment_writer, "BACKGROUND_BYTES", 0)
    if not behind:
        put(indexes.Indexes, "_build_in_background", lambda *_: None)
        put(row_cache.RowCache, "save_in_background", lambda *_: None)


@contextmanager
def lowered(rows_min: int = 8, exact_rows: int = 3) -> Iterator[None]:
    """Index segments of `rows_min` rows, and search by the index where a view shows more than `exact_rows`.

    Nothing is built in the background; only `k.optimize()` builds indexes.
    """
    with pytest.MonkeyPatch.context() as patch:
        lower(rows_min, behind=False, put=patch.setattr)
        patch.setattr(ivf, "lists_for", lambda _: LISTS)
        patch.setattr(ranking, "EXACT_ROWS", exact_rows)
        yield
