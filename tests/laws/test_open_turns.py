"""Open turns during control changes: stagings, promotions, settles, rollbacks and reinstatements."""

from __future__ import annotations

import pytest

import kedge
from kedge import Kedge
from tests.laws.scene import BAD, EMPTY, clerk, full, helper, read_everywhere, release, write_everywhere


def test_a_rollback_stops_the_influenced_and_spares_the_others(bad: Kedge) -> None:
    with helper(bad) as influenced, clerk(bad) as other, clerk(bad) as reader:
        write_everywhere(influenced, "bad")
        reader.context.get("key")
        bad.rollback(BAD)
        for turn in (influenced, reader):
            with pytest.raises(kedge.RolledBack):
                turn.context.put("key", "more")
            with pytest.raises(kedge.RolledBack):
                turn.documents("kb").put("key", "a source write", origin="source")
        write_everywhere(other, "good")
        assert read_everywhere(other) == full("good")
        assert other.lineage == frozenset()
    assert read_everywhere(bad.view(session="s")) == full("good")


def test_a_turn_keeps_what_it_wrote_before_it_was_influenced(bad: Kedge) -> None:
    with helper(bad) as turn:
        turn.context.put("key", "bad")
    with clerk(bad) as turn:
        turn.context.put("first", 1)
        turn.context.get("key")
        turn.context.put("second", 2)
        bad.rollback(BAD)
    assert bad.view().context.items() == {"first": 1}


def test_a_rolled_back_and_reinstated_deployment_is_there_again(bad: Kedge) -> None:
    with helper(bad) as turn:
        write_everywhere(turn, "bad")
    with clerk(bad) as turn:
        bad.rollback(BAD)
        assert read_everywhere(turn) == EMPTY
        bad.reinstate(BAD)
        assert read_everywhere(turn) == full("bad")
        assert turn.lineage == {BAD}


def test_a_settle_ends_the_turns_that_did_not_see_it(k: Kedge) -> None:
    with clerk(k) as turn, clerk(k, "other") as elsewhere:
        release(k, "late")
        for each in (turn, elsewhere):
            assert each.context.get("key") is None
        with helper(k, "new") as saw:
            k.settle("late")
            saw.context.put("key", "by one that saw it")
            assert saw.lineage == frozenset()
        for missed in (turn, elsewhere):
            with pytest.raises(kedge.SettledMeanwhile):
                missed.context.get("key")
            with pytest.raises(kedge.Retryable):
                missed.context.put("key", 1)
    with clerk(k) as again:
        assert again.context.get("key") == "by one that saw it"


def test_settled_deployments_leave_new_stamps(bad: Kedge) -> None:
    with helper(bad) as turn:
        assert turn.lineage == {BAD}
        bad.settle(BAD)
        seq = turn.context.put("key", 1)
        assert turn.lineage == frozenset()
    assert bad.view().context.entry("key").lineage == frozenset()  # type: ignore[union-attr]
    assert bad.at(seq).context.get("key") == 1


def test_a_staging_and_a_promotion_leave_open_turns_alone(bad: Kedge) -> None:
    with clerk(bad) as turn:
        release(bad, "next", "clerk/prompt")
        with clerk(bad, "new") as other:
            write_everywhere(other, "next")
        assert read_everywhere(turn) | {"memory": []} == EMPTY
        turn.context.put("mine", 1)
        assert turn.lineage == frozenset()
    assert bad.view(session="s").context.items() == {"mine": 1}


def test_a_purge_ends_an_influenced_turn_too(bad: Kedge) -> None:
    with helper(bad) as turn:
        bad.rollback(BAD)
        bad.purge(BAD, confirm=BAD)
        with pytest.raises(kedge.RolledBack):
            turn.context.put("key", 1)
    assert bad.view().context.items() == {}
