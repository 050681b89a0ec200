"""Thresholds lowered, so that a few rows are indexed and kept like millions: in this process, or through a patch."""

from __future__ import annotations

from collections.abc import Callable

from kedge.backends.sqlite import indexes, ivf, ranking, rowcache

ROWS_MIN = 200


def lower(rows: int = ROWS_MIN, *, behind: bool = True, put: Callable[[object, str, object], None] = setattr) -> None:
    """Index and keep collections from `rows` on; without `behind`, do so only where that is asked for."""
    put(ivf, "ROWS_MIN", rows)
    put(rowcache, "ROWS_MIN", rows)
    put(ranking, "EXACT_ROWS", rows // 5)
    put(indexes, "_LOOK_SECONDS", 0.0)
    if not behind:
        put(indexes.Indexes, "_build_behind", lambda *_: None)
        put(rowcache.RowCache, "follow", lambda *_: None)
