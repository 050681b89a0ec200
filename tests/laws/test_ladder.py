"""Law "Ladder": a level permits a subset of what the level above permits; sources are recorded on every level."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import kedge
from kedge.model.ladder import session_hash
from kedge.model.levels import LEVELS
from kedge.turns.scope import scope_of
from kedge.turns.stop_files import StopFiles
from tests.laws.scene import BAD, clerk, helper, release

HOUR = 3_600.0


def tighten(k: kedge.Kedge, level: str, scope: str, **options: Any) -> kedge.LevelEntry:
    return k.ladder.tighten(level, scope, reason="a drill", by="ann", **options)  # type: ignore[arg-type] # a level


# ── the level of a turn ──


def test_the_strictest_entry_that_matches_counts(bad: kedge.Kedge) -> None:
    place = session_hash("s")
    scopes = {
        "feature:helper": "supervised",
        "session:s": "frozen",
        f"cohort:{max(0.0, place - 0.01):.3f}-{min(1.0, place + 0.01):.3f}": "cautious",
        f"deployment:{BAD}": "fallback",
        "everything": "off",
    }
    turn, other = helper(bad), clerk(bad, "other session")
    assert (turn.level, other.level) == ("full", "full")
    made = []
    for scope, level in scopes.items():
        made.append(tighten(bad, level, scope))
        assert turn.level == level, scope
        assert bad.ladder.effective("helper", session="s") == level
    for entry, level in zip(made[:0:-1], list(scopes.values())[-2::-1], strict=True):
        bad.ladder.loosen(entry, by="ann")
        assert turn.level == level
    bad.ladder.loosen(made[0], by="ann")
    assert turn.level == "full"


def test_scopes_that_do_not_match_do_not_count(bad: kedge.Kedge) -> None:
    place = session_hash("s")
    rest = "cohort:0.5-1" if place < 0.5 else "cohort:0-0.5"
    for scope in ("feature:clerk", "session:t", rest, "tool:refund"):
        tighten(bad, "off", scope)
    with helper(bad) as turn:
        assert turn.level == "full"
        assert turn.may("act", tool="mail")
        assert not turn.may("act", tool="refund"), "the tool's entry counts for the tool"


def test_a_deployment_s_entry_binds_turns_that_see_it(k: kedge.Kedge) -> None:
    release(k, "canary", live=False)
    inside, outside = helper(k, "in", deployment="canary"), helper(k, "out")
    tighten(k, "frozen", "deployment:canary")
    assert (inside.level, outside.level) == ("frozen", "full")
    assert k.ladder.effective(deployment="canary") == "frozen"
    with pytest.raises(kedge.UnknownName, match=r"no deployment is named 'canry'.*did you mean 'canary'"):
        tighten(k, "off", "deployment:canry")
    k.promote("canary")
    k.settle("canary")
    assert helper(k, "later").level == "frozen", "every view sees what is settled"


def test_what_is_purged_takes_its_entries_along(bad: kedge.Kedge) -> None:
    tighten(bad, "off", f"deployment:{BAD}")
    bad.rollback(BAD)
    assert clerk(bad).level == "full"
    bad.purge(BAD, confirm=BAD)
    assert bad.ladder.list() == []


def test_the_stop_file_of_this_host_counts_too(k: kedge.Kedge, tmp_path: Path) -> None:
    k._kernel.stop_files = StopFiles([tmp_path / "FILE"])
    turn = clerk(k)
    (tmp_path / "FILE").touch()
    k._kernel.stop_files.look()
    assert turn.level == "off"
    with pytest.raises(kedge.Frozen, match=r"file\.1 for 'everything', by .*FILE"):
        turn.context.put("a", 1)
    turn.memory.append("user", "still heard")
    tighten(k, "frozen", "everything")
    (tmp_path / "FILE").write_text("everything supervised")
    k._kernel.stop_files.look()
    assert turn.level == "frozen"


# ── rights ──


def test_derived_writes_are_refused_below_supervised_and_sources_never(k: kedge.Kedge) -> None:
    turn = clerk(k)
    for level in LEVELS[1:]:
        entry = tighten(k, level, "everything")
        turn.memory.append("user", f"heard at {level}")
        turn.context.put("said", level, origin="source")
        if level == "supervised":
            turn.context.put("derived", level)
        else:
            with pytest.raises(kedge.Frozen, match=rf"is at level {level} \({entry.id} for 'everything', by ann"):
                turn.context.put("derived", level)
            with pytest.raises(kedge.Frozen):
                turn.require("learn")
        k.ladder.loosen(entry, by="ann")
    turn.context.put("derived", "full")
    assert len(k.view(session="s").memory.history()) == len(LEVELS) - 1


def test_what_a_turn_may_do_shrinks_with_the_level(k: kedge.Kedge) -> None:
    turn = clerk(k)
    asked: list[tuple[Any, Any]] = [("learn", None), ("generate", None), ("speak", None)]
    asked += [("act", each) for each in ("read", "undoable", "compensable", "irreversible", None)]
    before = {pair for pair in asked if turn.may(pair[0], reversibility=pair[1])}
    assert before == set(asked)
    found = {}
    for level in LEVELS[1:]:
        entry = tighten(k, level, "everything")
        may = {pair for pair in asked if turn.may(pair[0], reversibility=pair[1])}
        assert may <= before
        before, found[str(level)] = may, {f"{act} {each}" for act, each in may}
        for pair in set(asked) - may:
            with pytest.raises(kedge.NotPermitted):
                turn.require(pair[0], reversibility=pair[1])
        k.ladder.loosen(entry, by="ann")
    assert found["frozen"] == {"generate None", "speak None", "act read", "act undoable"}
    assert found["cautious"] == {"generate None", "speak None", "act read"}
    assert (found["fallback"], found["off"]) == ({"speak None"}, set())


def test_speech_is_labelled_below_frozen(k: kedge.Kedge) -> None:
    turn = clerk(k)
    assert not turn.require("speak").label
    for level, verdict in (("cautious", "labelled"), ("fallback", "canned")):
        tighten(k, level, "everything")
        permit = turn.require("speak")
        assert (permit.label, permit.verdict, permit.level) == (True, verdict, level)
    tighten(k, "off", "everything")
    with pytest.raises(kedge.NotPermitted, match="say only that it is off"):
        turn.require("speak")


# ── permits ──


def test_a_permit_is_checked_where_it_is_used(k: kedge.Kedge) -> None:
    turn = clerk(k)
    with turn.require("act", tool="refund", reversibility="undoable") as permit:
        assert permit.check() is permit
        first = permit.epoch
        tighten(k, "frozen", "everything")
        assert permit.check().epoch == first + 1, "still permitted, at the new epoch"
        tighten(k, "cautious", "tool:refund")
        with pytest.raises(kedge.NotPermitted, match="may not act with 'refund'"):
            permit.check()
        assert permit.epoch == first + 1, "not stamped with an epoch at which it does not hold"
    with pytest.raises(kedge.NotPermitted, match="has ended"):
        permit.check()


def test_a_permit_ends_with_its_turn(bad: kedge.Kedge) -> None:
    with helper(bad) as turn:
        permit = turn.require("act", tool="refund")
    with pytest.raises(kedge.TurnClosed):
        permit.check()
    turn = helper(bad)
    permit = turn.require("act", tool="refund")
    bad.rollback(BAD)
    with pytest.raises(kedge.RolledBack):
        permit.check()


def test_a_member_asks_no_store(k: kedge.Kedge, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tighten(k, "supervised", "feature:clerk")
    with kedge.open(place, durability="normal") as m, m.join("one"):
        turn = clerk(m)
        permit = turn.require("act", tool="mail", reversibility="undoable")
        for name in ("load", "epoch", "position", "standing"):
            monkeypatch.setattr(m._kernel.backend.control, name, None)
        assert turn.level == "supervised"
        assert not turn.may("act", tool="refund")
        assert permit.check().epoch == scope_of(turn).view.epoch
        monkeypatch.undo()


# ── entries ──


def test_equal_tightenings_coalesce(k: kedge.Kedge) -> None:
    first = tighten(k, "frozen", "feature:clerk", expires=60)
    epoch = k.epoch
    assert tighten(k, "frozen", "feature:clerk", expires=50) == first
    assert k.epoch == epoch, "nothing changed"
    longer = tighten(k, "frozen", "feature:clerk", expires=HOUR)
    assert (longer.id, k.epoch) == (first.id, epoch + 1)
    assert longer.expires is not None
    assert tighten(k, "frozen", "feature:clerk").expires is None
    k.ladder.tighten("frozen", "feature:clerk", by="ben")
    assert len(k.ladder.list()) == 2, "another's is an entry of its own"


def test_the_short_form_lifts_what_persons_set_only(k: kedge.Kedge) -> None:
    k.set_level("clerk", "cautious", by="ann")
    k.set_level("clerk", "supervised", by="ben")
    (entry,) = k.ladder.list()
    assert (entry.level, entry.by, entry.source) == ("supervised", "ben", "person")
    with clerk(k):
        k.ladder.tighten("frozen", "feature:clerk", reason="the agent doubts itself")
    k.set_level("clerk", "full")
    (entry,) = k.ladder.list()
    assert (entry.by, entry.source, k.levels()) == ("agent:clerk", "hook", {"clerk": "frozen"})


def test_an_expired_entry_counts_until_a_recorded_change_removes_it(k: kedge.Kedge) -> None:
    entry = tighten(k, "frozen", "feature:clerk", expires=datetime(2100, 1, 1, tzinfo=UTC))
    assert entry.expires == datetime(2100, 1, 1, tzinfo=UTC).timestamp()
    with pytest.raises(kedge.InvalidValue, match="it has passed"):
        tighten(k, "frozen", "feature:clerk", expires=datetime(2000, 1, 1, tzinfo=UTC))
    with pytest.raises(kedge.InvalidValue, match="needs a time zone"):
        tighten(k, "frozen", "feature:clerk", expires=datetime(2100, 1, 1))  # noqa: DTZ001 - the mistake


@pytest.mark.parametrize(
    ("level", "scope", "message"),
    [
        ("full", "everything", "nothing is tightened to 'full'"),
        ("of", "everything", "did you mean 'off'"),
        ("off", "suport", "invalid scope 'suport'"),
    ],
)
def test_what_cannot_be_tightened(k: kedge.Kedge, level: str, scope: str, message: str) -> None:
    with pytest.raises(kedge.InvalidValue, match=message):
        tighten(k, level, scope)
    assert k.ladder.list() == []


def fill(k: kedge.Kedge, name: str) -> None:
    for number in range(1_000):
        try:
            tighten(k, "frozen", f"session:{name}{number}")
        except kedge.InvalidValue as error:
            assert re.search(r"no room for frozen of.*or tighten everything", str(error))  # noqa: PT017 - after many
            return
    raise AssertionError("there is no bound")


def test_many_entries_never_keep_everything_from_being_tightened(k: kedge.Kedge) -> None:
    for name in ("long name " * 150, "short"):
        fill(k, name)
    count = len(k.ladder.list())
    assert count > 10
    entry = tighten(k, "off", "everything")
    assert k.ladder.tighten("off", "everything", by="ben") == entry, "it stands for both"
    assert clerk(k).level == "off"
    k.ladder.loosen(k.ladder.list()[0], by="ann")
    assert len(k.ladder.list()) == count


# ── who ──


def test_an_agent_tightens_and_never_loosens(k: kedge.Kedge) -> None:
    entry = tighten(k, "frozen", "everything")
    for by in (None, "ann", "agent:clerk"):
        with clerk(k) as turn:
            own = k.ladder.tighten("cautious", "session:s", by=by)
            assert (own.source, turn.level) == ("hook", "cautious")
            for held in (entry, own):
                with pytest.raises(kedge.NotPermitted, match="a person does"):
                    k.ladder.loosen(held, by=by)
            with pytest.raises(kedge.NotPermitted, match="a person does"):
                k.set_level("clerk", "full", by=by)
    with pytest.raises(kedge.NotPermitted, match="'agent:clerk' cannot lift"):
        k.ladder.loosen(entry, by="agent:clerk")
    assert k.ladder.list()[0] == entry


def test_each_change_is_in_the_log_with_who_and_why(k: kedge.Kedge) -> None:
    entry = tighten(k, "frozen", "feature:clerk")
    k.ladder.loosen(entry.id, reason="understood", by="ben")
    lifted, made = k.log(2)
    assert (made.kind, made.by, made.reason, made.detail["scope"]) == ("tighten", "ann", "a drill", "feature:clerk")
    assert (lifted.kind, lifted.by, lifted.reason, lifted.detail["entry"]) == ("loosen", "ben", "understood", entry.id)
    with pytest.raises(kedge.UnknownName, match="no level entry"):
        k.ladder.loosen(entry, by="ben")
