"""Visibility: a write is visible in a view iff all its lineage is seen there, and it is not later than the view."""

from __future__ import annotations

import pytest

import kedge
from kedge import Kedge
from tests.laws.scene import EMPTY, clerk, full, helper, read_everywhere, release, write_everywhere


def test_a_write_is_seen_where_its_whole_lineage_is(k: Kedge) -> None:
    release(k, "one", "helper/prompt", live=False)
    release(k, "two", "clerk/prompt", live=False)
    with helper(k, None, "one") as turn:
        turn.context.put("by one", 1)
    with clerk(k, None, "two") as turn:
        turn.context.put("by two", 2)
    assert k.view().context.items() == {}
    assert k.view(deployment="one").context.items() == {"by one": 1}
    assert k.view(deployment="two").context.items() == {"by two": 2}
    k.promote("one")
    with clerk(k, None, "two") as turn:
        turn.context.put("by both", turn.context.get("by one"))
        assert turn.lineage == {"one", "two"}
    assert k.view().context.items() == {"by one": 1}
    k.promote("two")
    assert k.view().context.items() == {"by one": 1, "by two": 2, "by both": 1}
    k.rollback("one")
    assert k.view().context.items() == {"by two": 2}


def test_one_rule_decides_in_every_store(bad: Kedge) -> None:
    release(bad, "canary", live=False)
    with helper(bad, "inside", "canary") as turn:
        write_everywhere(turn, "seen inside")
        assert read_everywhere(turn) == full("seen inside")
    assert read_everywhere(bad.view(session="inside")) == full("seen inside")
    with clerk(bad, "outside") as turn:
        assert read_everywhere(turn) == EMPTY
        assert turn.lineage == frozenset()


def test_a_canary_is_seen_by_the_sessions_assigned_to_it(k: Kedge) -> None:
    k.deploy("all", {"helper/prompt": "x"}, canary=1.0)
    k.deploy("none", {"clerk/prompt": "x"}, canary=0.0)
    with helper(k, "s") as turn:
        assert turn.artifacts["helper/prompt"].value == "x"
        assert turn.artifacts.get("clerk/prompt") is None
    assert k.assignment("s") == ["all"]
    assert k.view().artifacts["helper/prompt"].value != "x"


def test_a_deployment_made_after_a_turn_began_is_not_seen_by_it(k: Kedge) -> None:
    with clerk(k, None) as without_session, clerk(k, "s") as with_session:
        release(k, "late", "clerk/prompt")
        with clerk(k, None) as later:
            later.context.put("key", "late")
        for turn in (without_session, with_session):
            assert turn.artifacts.get("clerk/prompt") is None
            assert turn.context.get("key") is None
            assert turn.lineage == frozenset()
    with clerk(k, "s") as same_session, clerk(k, "new") as new_session:
        assert same_session.context.get("key") is None
        assert new_session.context.get("key") == "late"


def test_a_staged_deployment_is_seen_only_by_who_asks_for_it(k: Kedge) -> None:
    release(k, "staged", live=False)
    assert k.view().artifacts["helper/prompt"].value == "helper/prompt of good"
    assert k.view(deployment="staged").artifacts["helper/prompt"].value == "helper/prompt of staged"
    with helper(k, "s", "staged") as turn:
        assert turn.lineage == {"staged"}
    assert k.assignment("s") == ["staged"]


def test_a_past_view_reaches_up_to_its_point(k: Kedge) -> None:
    with clerk(k) as turn:
        seqs = [turn.context.put("key", value) for value in ("first", "second")]
        turn.context.delete("key")
    assert [k.at(seq).context.get("key") for seq in seqs] == ["first", "second"]
    assert k.at(seqs[0] - 1).context.get("key") is None
    assert k.view().context.get("key") is None


def test_a_session_is_never_split_between_views(k: Kedge) -> None:
    release(k, "staged", live=False)
    with clerk(k, "s"):
        pass
    with pytest.raises(kedge.SessionBegun):
        helper(k, "s", "staged")
    k.promote("staged")
    assert k.assignment("s") == []
    assert k.assignment("new") == ["staged"]
