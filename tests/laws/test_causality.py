"""Causality: a derived write's lineage holds all that its turn had read before it; each kind of read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

import kedge
from kedge import Kedge, Turn
from kedge.turns.scope import scope_of
from tests.laws.scene import AWAY, BAD, VECTOR, clerk, helper, release, write_everywhere

READS: dict[str, Callable[[Turn], Any]] = {
    "a value": lambda turn: turn.context.get("key"),
    "an entry": lambda turn: turn.context.entry("key"),
    "a document": lambda turn: turn.documents("kb").get("key"),
    "an artifact": lambda turn: turn.artifacts["helper/prompt"],
    "the artifacts": lambda turn: turn.artifacts.items("helper/"),
    "items": lambda turn: turn.context.items(""),
    "items of a prefix": lambda turn: turn.context.items("ke"),
    "documents": lambda turn: turn.documents("kb").items(),
    "a count of documents": lambda turn: turn.documents("kb").count(),
    "a history": lambda turn: turn.memory.history(),
    "a history's newest": lambda turn: turn.memory.history(limit=1),
    "a vector": lambda turn: turn.vectors("kb").get(["key"]),
    "a count of vectors": lambda turn: turn.vectors("kb").count(),
    "a search": lambda turn: turn.vectors("kb").search(VECTOR, k=1),
    "a search by payload": lambda turn: turn.vectors("kb").search(AWAY, k=1, where={"kind": "bad"}),
}


def compare_and_set(turn: Turn, expect: int) -> None:
    """Try a compare-and-set; it reads what it compares whether it succeeds or not."""
    with suppress(kedge.ExpectationFailed):
        turn.context.put("key", "swapped", expect=expect)


@pytest.mark.parametrize("read", READS)
def test_reading_what_a_deployment_caused_stamps_what_is_written_next(bad: Kedge, read: str) -> None:
    with helper(bad) as turn:
        write_everywhere(turn, "bad")
        turn.vectors("kb").upsert(["other"], [VECTOR], [{"kind": "bad"}])
    with clerk(bad) as turn:
        turn.context.put("before it read", 1)
        READS[read](turn)
        assert turn.lineage == {BAD}
        turn.context.put("after it read", 1)
    bad.rollback(BAD)
    assert set(bad.view().context.items()) == {"before it read"}


DELETES: dict[str, Callable[[Turn], Any]] = {
    name: READS[name] for name in READS if "artifact" not in name and name not in ("an entry", "a search by payload")
} | {"an entry": READS["an entry"], "a compare-and-set": lambda turn: compare_and_set(turn, 0)}


@pytest.mark.parametrize("read", DELETES)
def test_an_absence_that_a_deployment_caused_is_a_read(bad: Kedge, read: str) -> None:
    with clerk(bad) as turn:
        write_everywhere(turn, "good")
        said = turn.memory.history()[0].seq
    with helper(bad) as turn:
        turn.context.delete("key")
        turn.documents("kb").delete("key")
        turn.vectors("kb").delete(["key"])
        turn.memory.delete(said)
    with clerk(bad) as turn:
        DELETES[read](turn)
        assert turn.lineage == {BAD}


@pytest.mark.parametrize("expect", ["right", "wrong"])
def test_a_compare_and_set_reads_whether_it_succeeds_or_not(bad: Kedge, expect: str) -> None:
    with helper(bad) as turn:
        seq = turn.context.put("key", "bad")
    with clerk(bad) as turn:
        compare_and_set(turn, seq if expect == "right" else 0)
        assert turn.lineage == {BAD}
        turn.context.put("key", "built on it")
    bad.rollback(BAD)
    assert bad.view().context.get("key") is None


def test_a_compare_and_set_with_what_was_just_read_reads_it_again(bad: Kedge) -> None:
    with helper(bad) as turn:
        read = turn.context.put("key", "bad")
    with clerk(bad) as turn:
        entry = turn.context.entry("key")
        assert entry is not None
        turn.context.put("between", "journals what was read")
        mine = turn.context.put("key", "built on it", expect=entry.seq)
        turn.context.put("key", "built on that", expect=mine)
    provenance = scope_of(turn).backend.provenance
    (written,) = provenance.turns([turn.id])
    _, again, own = [set(reads.seqs) for reads in provenance.reads_of([written.turn])[written.turn]]
    assert again == {read}, "what is compared counts as read, though it was read before"
    assert own == {mine}, "one's own write, too"
    bad.rollback(BAD)
    assert bad.view().context.get("key") is None


def test_a_compare_and_set_with_what_was_just_read_fails_where_another_came_between(bad: Kedge) -> None:
    with clerk(bad) as turn:
        seq = turn.context.put("key", "mine")
    with clerk(bad) as turn:
        assert turn.context.get("key") == "mine"
        with helper(bad) as other:
            other.context.put("key", "bad")
        with pytest.raises(kedge.ExpectationFailed):
            turn.context.put("key", "over it", expect=seq)
        assert turn.lineage == {BAD}, "it has read what it found"
        found = turn.context.entry("key")
        assert found is not None
        gone = turn.context.delete("key", expect=found.seq)
        for read in (False, True):
            assert not read or turn.context.get("key") is None
            with pytest.raises(kedge.ExpectationFailed, match="it is absent"):
                turn.context.put("key", "over a delete", expect=gone)


@pytest.mark.parametrize("value", ["the same", "another"])
def test_a_call_that_was_done_before_reads_what_was_done(bad: Kedge, value: str) -> None:
    with helper(bad) as turn:
        turn.context.put("key", "the same", idempotency="call 1")
    with clerk(bad) as turn:
        with suppress(kedge.IdempotencyMismatch):
            turn.context.put("key", value, idempotency="call 1")
        assert turn.lineage == {BAD}


def test_a_search_reads_what_pushed_a_row_out_of_its_hits(bad: Kedge) -> None:
    with clerk(bad) as turn:
        turn.vectors("kb").upsert(["near", "far"], [VECTOR, AWAY], [None, None])
    with helper(bad) as turn:
        turn.vectors("kb").upsert(["near"], [-VECTOR], [None])
    with clerk(bad) as turn:
        assert [hit.id for hit in turn.vectors("kb").search(VECTOR, k=1)] == ["far"]
        assert turn.lineage == {BAD}


def test_a_search_reads_the_embedder_that_spans_its_space(k: Kedge) -> None:
    release(k, "embedder", "shared/embedder")
    with clerk(k) as turn:
        turn.vectors("kb").search(VECTOR)
        assert turn.lineage == {"embedder"}
    with clerk(k) as turn:
        turn.vectors("kb").upsert(["key"], [VECTOR], [None])
        assert turn.lineage == {"embedder"}


@pytest.mark.parametrize(
    "act",
    [
        lambda turn: turn.context.put("key", "blind"),
        lambda turn: turn.context.delete("key"),
        lambda turn: turn.context.get("never"),
        lambda turn: turn.context.items("never/"),
        lambda turn: turn.documents("kb").put("key", "blind"),
        lambda turn: turn.documents("kb").delete("key"),
        lambda turn: turn.memory.append("assistant", "blind"),
        lambda turn: turn.vectors("kb").upsert(["key"], [VECTOR], [None]),
        lambda turn: turn.vectors("kb").delete(["key"]),
        lambda turn: turn.documents("other").count(),
    ],
)
def test_blind_writes_and_what_never_was_read_nothing(bad: Kedge, act: Callable[[Turn], Any]) -> None:
    with helper(bad) as turn:
        write_everywhere(turn, "bad")
    with clerk(bad) as turn:
        act(turn)
        assert turn.lineage == frozenset()


def test_what_is_hidden_from_a_turn_adds_nothing(bad: Kedge) -> None:
    with helper(bad) as turn:
        write_everywhere(turn, "bad")
    bad.rollback(BAD)
    for name, read in READS.items():
        with clerk(bad) as turn:
            read(turn)
            assert turn.lineage == frozenset(), name


def test_an_agent_is_made_by_its_artifacts(bad: Kedge) -> None:
    with helper(bad) as turn:
        assert turn.lineage == {BAD}
    bad.rollback(BAD)
    with helper(bad) as turn:
        assert turn.lineage == frozenset()


def test_influence_passes_on_through_stores_and_agents(bad: Kedge) -> None:
    with helper(bad) as turn:
        turn.context.put("fact", "wrong")
    with clerk(bad) as turn:
        turn.vectors("kb").upsert(["fact"], [VECTOR], [turn.context.get("fact")])
    with bad.turn("other", agent="third") as turn:
        hit = turn.vectors("kb").search(VECTOR, k=1)[0]
        turn.memory.append("assistant", hit.payload)
    bad.rollback(BAD)
    assert bad.view(session="other").memory.history() == []
    assert bad.view().vectors("kb").count() == 0


def test_a_callee_carries_its_caller_and_a_caller_its_callee(bad: Kedge) -> None:
    with helper(bad) as caller, bad.turn(agent="callee", parent=caller.headers()) as callee:
        assert callee.lineage == {BAD}
        with clerk(bad) as other:
            other.absorb(callee.headers())
            assert other.lineage == {BAD}


def test_what_comes_unsigned_is_never_taken_as_clean(k: Kedge) -> None:
    with k.turn("s", agent="clerk", parent={"baggage": "lineage="}, peer="partner") as turn:
        assert turn.lineage == {"external:partner"}
        turn.context.put("key", "hearsay")
    assert k.view().context.get("key") == "hearsay"
    k.rollback("external:partner")
    assert k.view().context.get("key") is None
