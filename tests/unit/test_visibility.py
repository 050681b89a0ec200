"""The visibility rule, heads, and the effect of control changes on an open turn."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.errors import RolledBack, SettledMeanwhile
from kedge.model import transitions
from kedge.model.control import ControlRecord, Revocable, Status
from kedge.model.turns import move
from kedge.model.visibility import View, newest
from kedge.model.writes import Head, Key

numbers = st.frozensets(st.integers(1, 8))
KEY = Key("context", "", "k")


def head(seq: int, rank: int) -> Head:
    return Head(KEY, seq, rank, deleted=False, lineage_id=0, lineage=frozenset())


@given(numbers, numbers, numbers)
def test_a_write_is_visible_iff_all_its_lineage_is_seen(
    lineage: frozenset[int], seen: frozenset[int], settled: frozenset[int]
) -> None:
    assert View(1, seen, settled).sees(lineage) == (lineage <= seen | settled)


@given(numbers, numbers, numbers, numbers)
def test_seeing_more_never_hides(
    lineage: frozenset[int], seen: frozenset[int], settled: frozenset[int], more: frozenset[int]
) -> None:
    if View(1, seen, settled).sees(lineage):
        assert View(1, seen | more, settled).sees(lineage)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), unique_by=lambda pair: pair[0]))
def test_the_greatest_rank_and_then_seq_is_the_head(pairs: list[tuple[int, int]]) -> None:
    best = newest(head(seq, rank) for seq, rank in pairs)
    assert (None if best is None else (best.rank, best.seq)) == max(((r, s) for s, r in pairs), default=None)


def names(given_: Iterable[int]) -> frozenset[str]:
    return frozenset(f"d{n}" for n in given_)


def record(
    *, live: Iterable[int] = (), revoked: Iterable[int] = (), settled: tuple[int, int] = (0, -1)
) -> ControlRecord:
    gone = set(revoked)
    standing, closed = {*live, *gone}, range(settled[0], settled[1] + 1)
    last = max((*standing, *closed), default=0)
    return ControlRecord(
        epoch=9,
        next_number=last + 1,
        deployments=tuple(Revocable(n, f"d{n}", Status.LIVE, revoked=n in gone) for n in sorted(standing)),
        purged=frozenset(range(1, last + 1)) - standing - frozenset(closed),
    )


BEGUN = View(3, frozenset({1, 2}), frozenset())


def test_an_influenced_turn_ends_and_says_by_whom() -> None:
    with pytest.raises(RolledBack, match=r"'d2' was rolled back.*begin a new turn") as caught:
        move(BEGUN, frozenset({1, 2}), frozenset({2}), record(live=[1], revoked=[2]), names)
    assert caught.value.deployments == ("d2",)


def test_a_turn_that_was_not_influenced_goes_on_with_less() -> None:
    moved = move(BEGUN, frozenset({1, 2}), frozenset({1}), record(live=[1], revoked=[2]), names)
    assert (moved.epoch, moved.seen) == (9, frozenset({1}))


def test_a_turn_ends_when_what_it_did_not_see_is_settled() -> None:
    with pytest.raises(SettledMeanwhile, match=r"'d3'.*begin a new turn"):
        move(BEGUN, frozenset({1, 2}), frozenset(), record(live=[1, 2], settled=(3, 3)), names)


def test_a_turn_that_saw_what_is_settled_goes_on() -> None:
    moved = move(BEGUN, frozenset({1, 2}), frozenset({1}), record(live=[2], settled=(1, 1)), names)
    assert moved.sees(frozenset({1, 2}))


def test_a_later_deployment_stays_unseen() -> None:
    moved = move(BEGUN, frozenset({1, 2}), frozenset(), record(live=[1, 2, 3]), names)
    assert moved.seen == {1, 2}


def test_a_purged_deployment_ends_what_it_influenced() -> None:
    rolled_back = record(live=[1], revoked=[2])
    purged, gone = transitions.purge(rolled_back, "d2")
    assert gone == {2}
    with pytest.raises(RolledBack):
        move(BEGUN, frozenset({1, 2}), frozenset({2}), purged, names)
