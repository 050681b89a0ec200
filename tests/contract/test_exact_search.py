"""Exact search, on each backend: float64 ranking for every metric, and the lineage of what superseded rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

import kedge
from kedge.model.choices import MetricName

DIM = 8
METRICS = ("cosine", "dot", "l2")
Matrix = npt.NDArray[np.float32]
Noise = np.random.Generator
CASES: dict[str, tuple[int, Callable[[Noise, int], npt.NDArray[np.floating]]]] = {
    "around 3000": (2_000, lambda noise, n: 3_000 + noise.uniform(-1, 1, (n, DIM))),
    "unit": (300, lambda noise, n: noise.normal(size=(n, DIM))),
    "tiny": (300, lambda noise, n: 1e-25 * noise.normal(size=(n, DIM))),
    "huge": (300, lambda noise, n: 1e25 * noise.normal(size=(n, DIM))),
    "of all lengths": (300, lambda noise, n: 10 ** noise.uniform(-20, 18, (n, 1)) * noise.normal(size=(n, DIM))),
    "nearly equal": (300, lambda noise, n: 1 + 3e-7 * noise.integers(-2, 3, (n, DIM))),
    "equal": (150, lambda _, n: np.tile(np.arange(1.0, DIM + 1), (n, 1))),
}


def brute_force(metric: str, rows: Matrix, query: Matrix) -> npt.NDArray[np.longdouble]:
    """Return the scores of rows, more exactly than float64."""
    vectors, wanted = rows.astype(np.longdouble), query.astype(np.longdouble)
    if metric == "l2":
        return np.asarray(-((vectors - wanted) ** 2).sum(axis=1))
    dots: npt.NDArray[np.longdouble] = (vectors * wanted).sum(axis=1)
    lengths = np.sqrt((vectors**2).sum(axis=1) * (wanted**2).sum())
    return dots if metric == "dot" else np.asarray(dots / lengths)


def check(view: kedge.ReadView, metric: str, rows: dict[str, Matrix], query: Matrix, k: int) -> None:
    """Compare a search with brute force: scores that differ rank by score, equal ones by id."""
    scores = dict(zip(rows, brute_force(metric, np.stack([*rows.values()]), query), strict=True))
    hits = view.vectors("exact").search(query, k=k)
    assert hits.exact
    best = sorted(scores.values(), reverse=True)[:k]
    close = 1e-11 * max(abs(score) for score in best)
    assert len(hits) == len(best)
    assert all(abs(scores[hit.id] - score) <= close for hit, score in zip(hits, best, strict=True))
    assert all(abs(scores[hit.id] - hit.score) <= close for hit in hits)
    if len({row.tobytes() for row in rows.values()}) == 1:
        assert [hit.id for hit in hits] == sorted(rows)[:k]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("metric", METRICS)
def test_hits_are_those_of_float64_before_and_after_deletes(place: str, metric: MetricName, case: str) -> None:
    noise = np.random.default_rng(11)
    count, make = CASES[case]
    rows = {f"r{n:04}": row for n, row in enumerate(make(noise, count).astype(np.float32))}
    queries = make(noise, 10).astype(np.float32)
    shuffled = [[*rows][n] for n in noise.permutation(count)]
    with kedge.open(place, durability="normal") as k:
        k.collection("exact", dim=DIM, metric=metric)
        with k.turn(person="loader") as turn:
            turn.vectors("exact").upsert(shuffled, np.stack([rows[name] for name in shuffled]))
            for query in queries:
                check(k.view(), metric, rows, query, 25)
            gone = sorted(rows)[: count // 4]
            turn.vectors("exact").delete(gone)
        for name in gone:
            del rows[name]
        for query in queries:
            check(k.view(), metric, rows, query, 5)
            check(k.view(), metric, rows, query, 50)


def test_as_many_hits_as_the_largest_k_can_ask_for(place: str) -> None:
    with kedge.open(place, durability="normal") as k:
        k.collection("exact", dim=DIM)
        with k.turn(person="loader") as turn:
            turn.vectors("exact").upsert(["a", "b"], np.eye(2, DIM, dtype=np.float32))
        for largest in (2**31, 2**63 - 1, 2**80):
            assert len(k.view().vectors("exact").search(np.ones(DIM), k=largest)) == 2


def test_rows_overwritten_by_their_own_lineage_add_nothing(place: str) -> None:
    names = [f"v{n}" for n in range(20)]
    near, far = np.eye(1, DIM, dtype=np.float32), np.eye(1, DIM, 1, dtype=np.float32)
    with kedge.open(place, durability="normal") as k:
        k.collection("exact", dim=DIM)
        for agent in ("ix", "q"):
            k.deploy(f"{agent}-v1", {f"{agent}/prompt": "one"})
            k.promote(f"{agent}-v1")
        with k.turn(person="pat") as turn:
            turn.vectors("exact").upsert(["said"], near + far)
        with k.turn(agent="ix") as turn:
            for n in range(10):
                turn.vectors("exact").upsert(names, np.tile(near if n < 9 else far, (len(names), 1)))
        with k.turn(agent="q") as turn:
            assert [hit.id for hit in turn.vectors("exact").search(near[0], k=1)] == ["said"]
            assert turn.lineage == {"q-v1"}


def test_a_superseder_adds_what_the_row_does_not_have(place: str) -> None:
    near, far = np.eye(1, DIM, dtype=np.float32), np.eye(1, DIM, 1, dtype=np.float32)
    with kedge.open(place, durability="normal") as k:
        k.collection("exact", dim=DIM)
        for agent in ("ix", "mover", "q"):
            k.deploy(f"{agent}-v1", {f"{agent}/prompt": "one"})
            k.promote(f"{agent}-v1")
        with k.turn(person="pat") as turn:
            turn.vectors("exact").upsert(["said"], near + far)
        with k.turn(agent="ix") as turn:
            turn.vectors("exact").upsert(["v"], near)
        with k.turn(agent="mover") as turn:
            turn.vectors("exact").get(["v"])
            turn.vectors("exact").upsert(["v"], far)
            assert turn.lineage == {"ix-v1", "mover-v1"}
        with k.turn(agent="q") as turn:
            assert [hit.id for hit in turn.vectors("exact").search(near[0], k=1)] == ["said"]
            assert turn.lineage == {"mover-v1", "q-v1"}
