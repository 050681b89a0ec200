"""Repeated calls with an idempotency key: their answer, and the lineage that the repeating turn takes on."""

from __future__ import annotations

import pytest

import kedge
from kedge.errors import ExpectationFailed, IdempotencyMismatch, RolledBack
from kedge.model.writes import Batch
from kedge.ports.journal import Appended


@pytest.fixture
def v2(k: kedge.Kedge) -> str:
    """Put a release live that changes another agent."""
    k.deploy("v2", {"writer/prompt": "worse"})
    k.promote("v2")
    with k.turn(agent="writer") as turn:
        turn.context.put("fact", "same", idempotency="call-1")
    return "v2"


def test_a_turn_that_repeats_another_s_call_is_influenced_by_it(k: kedge.Kedge, v2: str) -> None:
    with k.turn(agent="support") as turn:
        turn.context.put("fact", "same", idempotency="call-1")
        assert turn.lineage == {v2}
        turn.context.put("built on it", True)
        k.rollback(v2)
        with pytest.raises(RolledBack):
            turn.context.put("fact", "same", idempotency="call-1")
    assert k.view().context.items() == {}


def test_so_is_one_that_has_written_since_that_call_was_made(k: kedge.Kedge, v2: str) -> None:
    with k.turn(agent="support") as turn:
        turn.context.put("newer than the call", True)
        turn.context.put("fact", "same", idempotency="call-1")
        assert turn.lineage == {v2}


def test_so_is_one_that_is_told_of_another_content(k: kedge.Kedge, v2: str) -> None:
    with k.turn(agent="support") as turn:
        with pytest.raises(IdempotencyMismatch):
            turn.context.put("fact", "other", idempotency="call-1")
        assert turn.lineage == {v2}


def test_so_is_one_beside_whose_repeat_that_call_is_made_anew_where_it_is_not_seen(
    k: kedge.Kedge, v2: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    k.rollback(v2)
    aside = k.turn(agent="support", session="begun meanwhile")  # it sees v2 no more
    k.reinstate(v2)
    journal = k._kernel.backend.journal
    append = journal.append

    def overtake(batch: Batch) -> Appended:
        done = append(batch)
        monkeypatch.setattr(journal, "append", append)
        aside.context.put("fact", "same", idempotency="call-1")
        return done

    with k.turn(agent="support") as turn:
        monkeypatch.setattr(journal, "append", overtake)
        turn.context.put("fact", "same", idempotency="call-1")
        assert turn.lineage == {v2}
    assert aside.lineage == frozenset()


def test_a_canary_s_retry_is_answered_though_the_key_was_used_outside_since(k: kedge.Kedge) -> None:
    k.deploy("canary", {"support/prompt": "new"})
    with k.turn(agent="support", deployment="canary") as turn:
        first = turn.context.put("fact", "inside", idempotency="call-1")
    with k.turn(agent="support") as turn:
        outside = turn.context.put("fact", "outside", idempotency="call-1")
        assert turn.context.put("fact", "outside", idempotency="call-1") == outside
    with k.turn(agent="support", deployment="canary") as turn:
        assert turn.context.put("fact", "inside", idempotency="call-1") == first
        assert turn.context.put("fact", "outside", idempotency="call-1") == outside
    assert k.seq == outside


def test_one_that_is_told_of_other_contents_is_influenced_by_each(k: kedge.Kedge, v2: str) -> None:
    k.rollback(v2)
    with k.turn(agent="support") as turn:
        turn.context.put("fact", "newer", idempotency="call-1")
    k.reinstate(v2)
    with k.turn(agent="support") as turn:
        with pytest.raises(IdempotencyMismatch):
            turn.context.put("fact", "other", idempotency="call-1")
        assert turn.lineage == {v2}


@pytest.mark.usefixtures("v2")
def test_a_first_call_and_a_repeat_of_a_turn_s_own_read_nothing(k: kedge.Kedge) -> None:
    with k.turn(agent="support") as turn:
        turn.context.put("mine", 1, idempotency="call-2")
        turn.context.put("mine", 1, idempotency="call-2")
        assert turn.lineage == frozenset()


def test_what_was_read_before_a_repeat_is_kept_for_the_next_write(k: kedge.Kedge) -> None:
    with k.turn(agent="support", session="s") as turn:
        turn.memory.append("user", "hello", idempotency="call-2")
        seen = turn.context.put("seen", 1)
        turn.context.get("seen")
        turn.memory.append("user", "hello", idempotency="call-2")
        turn.context.put("built on it", True)
    provenance = k._kernel.backend.provenance  # what `why` will walk
    (found,) = provenance.turns([turn.id])
    assert any(seen in reads.seqs for reads in provenance.reads_of([found.turn])[found.turn])


def test_a_compare_and_set_whose_answer_was_lost_is_answered_again(k: kedge.Kedge) -> None:
    with k.turn(agent="support") as turn:
        first = turn.context.put("count", 1)
        second = turn.context.put("count", 2, expect=first, idempotency="call-2")
        assert turn.context.put("count", 2, expect=first, idempotency="call-2") == second
        with pytest.raises(ExpectationFailed) as failed:
            turn.context.put("count", 3, expect=first, idempotency="call-3")
        assert failed.value.seq == second
        assert turn.context.get("count") == 2
