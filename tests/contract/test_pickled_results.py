"""Results in a pickle, as process pools send them: equal on the other side."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import kedge
from kedge import Kedge, ReadView

A = [1.0, 0.0, 0.0]
RESULTS: dict[str, Callable[[Kedge, ReadView], Any]] = {
    "hits": lambda _, view: view.vectors("kb").search(A),
    "message": lambda _, view: view.memory.history()[0],
    "entry": lambda _, view: view.context.entry("fact"),
    "artifact": lambda _, view: view.artifacts["support/prompt"],
    "vector row": lambda _, view: view.vectors("kb").get(["a"])["a"].payload,
    "deployment": lambda k, _: k.deployments(),
    "plan": lambda k, _: k.plan("v2"),
    "log": lambda k, _: k.log(),
}


@pytest.fixture
def full(k: Kedge) -> Kedge:
    k.deploy("v2", {"support/prompt": "new"})
    k.promote("v2")
    with k.turn(session="s", agent="support") as turn:
        turn.memory.append("user", "hello")
        turn.context.put("fact", {"n": 1})
        turn.vectors("kb").upsert(["a", "b"], [A, [0.0, 1.0, 0.0]], [{"n": 1}, None])
    return k


@pytest.mark.parametrize("what", RESULTS)
def test_a_result_is_pickled(full: Kedge, what: str) -> None:
    found = RESULTS[what](full, full.view(session="s"))
    back = pickle.loads(pickle.dumps(found))
    assert (back, repr(back)) == (found, repr(found))


def test_pickled_hits_are_whole_and_do_not_count_in_silence(full: Kedge) -> None:
    with full.turn(agent="support") as turn:
        hits = turn.vectors("kb").search(A, k=1, exact=True)
        back = pickle.loads(pickle.dumps(hits))
        assert (type(back), back, back.exact) == (kedge.Hits, hits, True)
        with pytest.raises(kedge.Misuse, match=r"copy from a pickle.*before you send them"):
            back.count_unembedded()
        assert pickle.loads(pickle.dumps(back)) == hits


def test_copies_in_the_same_process_count(k: Kedge) -> None:
    with k.turn(agent="writer") as turn:
        turn.vectors("kb").upsert(["a"], [A])
    k.deploy("wide", {"shared/embedder": {"name": "e2", "dim": 2}})
    k.promote("wide")
    with k.turn(agent="clerk") as turn:
        turn.vectors("kb").upsert(["b"], [[1.0, 0.0]])
    for duplicate in (copy.copy, copy.deepcopy):
        with k.turn(agent="reader") as turn:
            hits = duplicate(turn.vectors("kb").search([1.0, 0.0]))
            assert hits.count_unembedded() == 1
