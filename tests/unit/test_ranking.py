"""Ranking of scored rows: hits by score, then by id, and the superseded rows that would be hits."""

from __future__ import annotations

import numpy as np

from kedge.model.lineage import Lineage
from kedge.model.ranking import ScoredRow, best, is_enough, may_rank, without_own
from kedge.model.scores import rounded, score_exactly
from kedge.model.states import deciding
from kedge.model.visibility import View
from kedge.model.writes import Head, Key

NONE: Lineage = frozenset()
VIEW = View(1, frozenset({1, 2, 3}), frozenset({9}))


def row(name: str, score: float, lineage: Lineage = NONE, *, is_head: bool = True) -> ScoredRow:
    head = Head(Key("vectors", "kb", name), 1, 1, False, 0, lineage)
    return ScoredRow(name, lineage, score, head if is_head else None)


def test_equal_scores_rank_by_id_and_noise_makes_no_difference() -> None:
    rows = [row("c", 0.5), row("b", 0.5 + 1e-16), row("a", 0.5 - 1e-16), row("d", 0.5 + 1e-9)]
    assert [head.key.name for head, _ in best(rows, 3).hits] == ["d", "a", "b"]


def test_scores_of_equal_directions_are_equal_at_any_length() -> None:
    direction = np.random.default_rng(1).normal(size=24).astype(np.float32)
    rows = np.stack([direction * np.float32(2.0**n) for n in range(-60, 60, 7)])
    assert len(set(rounded(score_exactly(rows, direction[::-1].copy(), "cosine")).tolist())) == 1


def test_only_rows_that_would_be_hits_name_their_superseders() -> None:
    rows = [row("a", 0.9), row("b", 0.9, is_head=False), row("z", 0.95, frozenset({1}), is_head=False), row("c", 0.1)]
    assert best(rows, 1).superseded == {"z": {1}}
    assert best(rows, 2).superseded == {"z": {1}, "b": NONE}


def test_a_superseder_counts_without_what_all_its_rows_share() -> None:
    rows = [row("a", 0.9, frozenset({1, 2}), is_head=False), row("a", 0.8, frozenset({1}), is_head=False)]
    found = best(rows, 1).superseded
    head = Head(Key("vectors", "kb", "a"), 7, 7, False, 0, frozenset({1, 2, 3}))
    assert [over.lineage for over in without_own({"a": head}, found)] == [{2, 3}]


def test_what_is_left_out_must_be_worse_than_the_last_hit() -> None:
    scores, is_head = np.array([0.9, 0.8, 0.7]), np.array([True, False, True])
    assert is_enough(scores, is_head, 2, 0.69)
    assert not is_enough(scores, is_head, 2, 0.7), "a row that is left out may tie, with a smaller id"
    assert not is_enough(scores, is_head, 3, -np.inf)
    assert may_rank(scores, is_head, 1).tolist() == [True, False, False]
    assert may_rank(scores, is_head, 3).all()


def test_what_decides_a_count_is_the_heads_and_what_superseders_bring() -> None:
    one, two, three = frozenset({1}), frozenset({2}), frozenset({3, 9})
    assert deciding(VIEW, one, []) == {one}
    assert deciding(VIEW, NONE, []) == set()
    assert deciding(VIEW, one, [one]) == set(), "superseded wherever it is seen"
    assert deciding(VIEW, one, [one | two, three]) == {frozenset({3}), two}
    assert deciding(VIEW, frozenset({4}), []) == set(), "not seen"
