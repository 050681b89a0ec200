"""Memory with one writer a session: compare-and-sets on its newest message, replaced suffixes, and `clear`."""

from __future__ import annotations

from typing import Any

import pytest

import kedge
from kedge import Kedge

POSTGRES_ONE_IN = 2


@pytest.fixture
def bad(k: Kedge) -> Kedge:
    k.deploy("bad", {"support/prompt": "bad"})
    k.promote("bad")
    return k


def said(k: Kedge, session: str = "s") -> list[Any]:
    return [message.content for message in k.view(session=session).memory.history()]


@pytest.mark.both
def test_a_message_goes_after_the_newest_that_its_writer_saw(k: Kedge) -> None:
    with k.turn("s", "support") as turn, k.turn("s", "clerk") as other:
        first = turn.memory.append("user", "one", expect=0)
        with pytest.raises(kedge.ExpectationFailed, match="seq 0, but its newest message is seq") as found:
            other.memory.append("user", "two", expect=0)
        assert found.value.seq == first
        second = other.memory.append("user", "two", expect=found.value.seq)
        assert other.memory.extend([("user", "three"), ("assistant", "four")], expect=second)
        with pytest.raises(kedge.ExpectationFailed):
            turn.memory.extend([("user", "never")], expect=second)
    assert said(k) == ["one", "two", "three", "four"]


def test_the_newest_message_is_the_newest_visible_one(k: Kedge) -> None:
    with k.turn("s", "support") as turn:
        first, second = turn.memory.extend([("user", "one"), ("user", "two")])
        turn.memory.delete(second)
        with pytest.raises(kedge.ExpectationFailed, match="newest message is seq"):
            turn.memory.append("user", "three", expect=second)
        turn.memory.append("user", "three", expect=first)
        turn.memory.clear()
        turn.memory.append("user", "four", expect=0)
    assert said(k) == ["four"]


def test_a_wrong_expectation_is_refused(k: Kedge) -> None:
    with k.turn("s", "support") as turn:
        for wrong in (-1, "1", True, 1.5):
            with pytest.raises(kedge.InvalidValue, match="expect"):
                turn.memory.append("user", "x", expect=wrong)  # type: ignore[arg-type]  # on purpose
        with pytest.raises(kedge.InvalidValue, match="after"):
            turn.memory.replace(-1, [])
        with pytest.raises(kedge.InvalidValue, match="no message with seq 7"):
            turn.memory.replace(7, [("user", "x")])
    assert said(k) == []


@pytest.mark.both
def test_a_comparison_is_a_read_whether_it_succeeds_or_not(bad: Kedge) -> None:
    with bad.turn("s", "support") as turn:
        seq = turn.memory.append("assistant", "bad")
    with bad.turn("s", "clerk") as turn:
        assert turn.lineage == frozenset()
        with pytest.raises(kedge.ExpectationFailed):
            turn.memory.append("assistant", "never", expect=0)
        assert turn.lineage == {"bad"}
    with bad.turn("s", "clerk") as turn:
        turn.memory.append("assistant", "influenced", expect=seq)
        assert turn.lineage == {"bad"}
    bad.rollback("bad")
    assert said(bad) == []


def test_a_repeated_call_is_answered_although_its_expectation_has_passed(k: Kedge) -> None:
    with k.turn("s", "support") as turn:
        seq = turn.memory.append("user", "one", expect=0, idempotency="call")
        assert turn.memory.append("user", "one", expect=0, idempotency="call") == seq
        with pytest.raises(kedge.ExpectationFailed):
            turn.memory.append("user", "two", expect=0, idempotency="another call")
    assert said(k) == ["one"]


@pytest.mark.both
def test_a_suffix_is_replaced_as_one_batch(k: Kedge) -> None:
    with k.turn("s", "support") as turn:
        seqs = turn.memory.extend([("user", "one"), ("assistant", "two"), ("user", "three")])
        new = turn.memory.replace(seqs[0], [("user", "2"), ("assistant", "3")], expect=seqs[-1])
        assert [message.seq for message in turn.memory.history()] == [seqs[0], *new]
        with pytest.raises(kedge.ExpectationFailed):
            turn.memory.replace(seqs[0], [("user", "never")], expect=seqs[-1])
        with pytest.raises(kedge.InvalidValue, match="customer"):
            turn.memory.replace(0, [("customer", "no origin")])
        assert said(k) == ["one", "2", "3"]
        assert turn.memory.replace(new[0], []) == []
        assert said(k) == ["one", "2"]
        turn.memory.replace(0, [("user", "fresh")])
    assert said(k) == ["fresh"]


@pytest.mark.both
def test_a_rollback_undoes_what_an_agent_cleared(bad: Kedge) -> None:
    with bad.turn("s", "clerk") as turn:
        turn.memory.extend([("user", "hello"), ("assistant", "hi")])
    with bad.turn("s", "support") as turn:
        assert len(turn.memory.clear()) == 2
        turn.memory.append("assistant", "new")
    assert said(bad) == ["new"]
    bad.rollback("bad")
    assert said(bad) == ["hello", "hi"]


def test_what_a_person_cleared_stays_cleared(bad: Kedge) -> None:
    with bad.turn("s", "support") as turn:
        turn.memory.extend([("user", "hello"), ("assistant", "hi")])
    with bad.turn("s", person="pat") as turn:
        turn.memory.clear()
    bad.rollback("bad")
    assert said(bad) == []


def test_clear_reads_its_range(bad: Kedge) -> None:
    with bad.turn("s", "support") as turn:
        turn.memory.append("assistant", "bad")
    with bad.turn("s", "clerk") as turn:
        turn.memory.clear()
        assert turn.lineage == {"bad"}
        assert turn.memory.clear() == []


def test_what_a_rollback_has_hidden_is_not_the_newest_message(bad: Kedge) -> None:
    with bad.turn("s", "support") as turn:
        seq = turn.memory.append("user", "hello")
        turn.memory.extend([("assistant", str(n)) for n in range(40)])
    bad.rollback("bad")
    with bad.turn("s", "clerk") as turn:
        assert turn.memory.append("assistant", "again", expect=seq)
