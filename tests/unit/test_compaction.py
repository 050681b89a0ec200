"""Rows that compaction may remove, checked by brute force over every view at every readable point."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kedge.model.compaction import Log, Past, Readable, Rows, may_go, rows_to_go
from kedge.model.lineage import Lineage

NUMBERS = range(1, 4)
LAST = 12
SUBSETS = [frozenset(some) for size in range(len(NUMBERS) + 1) for some in combinations(NUMBERS, size)]
lineages = st.sampled_from(SUBSETS)
seqs = st.integers(1, LAST)
Superseded = list[tuple[int, Lineage]]


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[int, int], Readable, list[tuple[int, Lineage, Superseded]], Lineage]:
    """Return when each number was settled, what can be read, rows with what superseded them, and what was purged."""
    settled_at = draw(st.dictionaries(st.sampled_from(NUMBERS), seqs))
    points = sorted(draw(st.sets(seqs, max_size=3)))
    pasts = [Past(seq, settled(settled_at, seq)) for seq in [draw(st.integers(0, LAST)), *points]]
    rows = []
    for seq in sorted(draw(st.sets(seqs, max_size=5))):
        log = draw(st.lists(st.tuples(st.integers(seq, LAST), lineages), max_size=3))
        rows.append((seq, draw(lineages), log))
    purged = draw(lineages) - settled_at.keys()
    return settled_at, Readable(pasts[0], tuple(pasts[1:])), rows, purged


def settled(settled_at: dict[int, int], seq: int) -> Lineage:
    return frozenset(number for number, at in settled_at.items() if at <= seq)


def is_ever_head(settled_at: dict[int, int], readable: Readable, row: tuple[int, Lineage, Superseded]) -> bool:
    """Look at every view at every point that can be read, the present (after `LAST`) among them."""
    seq, lineage, log = row
    points = {*range(readable.horizon.seq, LAST + 2), *(past.seq for past in readable.snapshots)}
    return any(
        lineage <= seen | there and not any(at <= point and by <= seen | there for at, by in log)
        for point in points
        if point >= seq
        for there in [settled(settled_at, point)]
        for seen in SUBSETS
    )


@given(histories())
def test_a_row_goes_only_where_no_view_has_it_as_head(
    history: tuple[dict[int, int], Readable, list[tuple[int, Lineage, Superseded]], Lineage],
) -> None:
    settled_at, readable, rows, purged = history
    for seq, lineage, log in rows:
        goes = may_go(seq, lineage, log, readable, purged)
        if lineage.isdisjoint(purged):
            is_needed = is_ever_head(settled_at, readable, (seq, lineage, log))
            assert not (goes and is_needed)
            assert goes or is_needed or seq > readable.horizon.seq, "what nobody can read before the horizon goes"
        else:
            assert goes, "nobody sees what was purged"


@given(histories())
def test_many_rows_are_decided_as_one_is(
    history: tuple[dict[int, int], Readable, list[tuple[int, Lineage, Superseded]], Lineage],
) -> None:
    _, readable, rows, purged = history
    ids = {lineage: number for number, lineage in enumerate(SUBSETS)}
    log = [(position, at, ids[by]) for position, (_, _, log) in enumerate(rows) for at, by in log]
    numbers = np.array(log, np.int64).reshape(-1, 3)
    going = rows_to_go(
        Rows(np.array([row[0] for row in rows], np.int64), np.array([ids[row[1]] for row in rows], np.int64)),
        Log(*numbers.T),
        dict(enumerate(SUBSETS)),
        readable,
        purged,
    )
    assert going.tolist() == [may_go(*row, readable, purged) for row in rows]
