"""Child turns: a turn that another one calls in its process joins its session, view and lineage, without headers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import kedge
from kedge import Kedge, Turn
from kedge.turns import children
from kedge.turns.scope import scope_of
from tests.databases import NewPlace
from tests.laws.scene import BAD, VECTOR, clerk, helper, opened, release

POSTGRES_ONE_IN = 2


def child(k: Kedge, caller: Turn, agent: str = "child") -> Turn:
    """Begin a child turn."""
    return k.turn(agent=agent, parent=caller)


def record_of(turn: Turn) -> Any:
    """Return a turn as the journal has it, or None."""
    found = scope_of(turn).backend.provenance.turns([turn.id])
    return found[0] if found else None


def reads_of(turn: Turn) -> set[int]:
    """Return the seqs that the journal says a turn has read."""
    record = record_of(turn)
    logs = [] if record is None else scope_of(turn).backend.provenance.reads_of([record.turn]).get(record.turn, [])
    return {seq for log in logs for seq in log.seqs}


def edges_of(turn: Turn) -> list[tuple[str, str]]:
    """Return the edges (kind, peer) that the journal has of a turn."""
    edges = scope_of(turn).backend.provenance.newest_edges(100)
    return [(edge.kind, edge.peer) for edge in edges if edge.turn == turn.id]


# ── what a child joins ──


def test_a_child_joins_session_view_and_lineage_and_commits_nothing(bad: Kedge) -> None:
    bad.deploy("canary", {"child/prompt": "new"})
    with bad.turn("s", agent="helper", deployment="canary") as caller:
        caller.memory.append("user", "a question")
        with child(bad, caller) as callee:
            assert (callee.session, callee.seen) == ("s", caller.seen)
            assert callee.lineage == {BAD, "canary"}, "its caller's, and its own artifacts'"
            assert [m.content for m in callee.memory.history()] == ["a question"]
            assert record_of(callee) is None
            assert edges_of(caller) == []
            callee.context.put("key", 1)
    assert bad.view().context.items() == {}, "only canaries see it"
    bad.rollback(BAD)
    assert bad.view(session="s").context.items() == {}


@pytest.mark.parametrize("absorbs", [True, False])
def test_a_caller_is_influenced_by_what_it_absorbs(bad: Kedge, *, absorbs: bool) -> None:
    with helper(bad) as turn:
        turn.context.put("fact", "bad")
    with clerk(bad) as caller:
        with child(bad, caller) as callee:
            callee.context.get("fact")
            assert caller.lineage == frozenset()
        if absorbs:
            caller.absorb(callee)
        assert caller.lineage == ({BAD} if absorbs else frozenset())
        caller.context.put("built on it", 1)
    bad.rollback(BAD)
    assert bool(bad.view().context.items()) is not absorbs


def test_what_a_caller_reads_later_is_not_its_childs(bad: Kedge) -> None:
    with helper(bad) as turn:
        turn.context.put("fact", "bad")
    with clerk(bad) as caller, child(bad, caller) as callee:
        caller.context.get("fact")
        callee.context.put("clean", 1)
        assert callee.lineage == frozenset()
        assert caller.lineage == {BAD}
        with child(bad, caller) as later:
            assert later.lineage == {BAD}


def test_a_callers_rollback_ends_its_children_and_none_begins(bad: Kedge) -> None:
    with helper(bad) as caller, child(bad, caller) as callee, clerk(bad) as other:
        bad.rollback(BAD)
        with pytest.raises(kedge.RolledBack):
            callee.context.put("key", 1)
        with pytest.raises(kedge.RolledBack):
            child(bad, caller)
        with pytest.raises(kedge.RolledBack):
            other.absorb(callee)
        with pytest.raises(kedge.RolledBack):
            other.context.get("key")


def test_a_graph_of_short_children_goes_on_after_a_settle(k: Kedge) -> None:
    release(k, BAD)
    with clerk(k, "before") as turn:
        assert turn.seen == {BAD}
    with clerk(k, "root") as root:
        release(k, "late", "shared/policy")
        k.settle(BAD)
        k.settle("late")
        with child(k, root) as first:
            assert first.artifacts["shared/policy"].value == "shared/policy of late"
            with helper(k, "other") as turn:
                release(k, "later", "helper/prompt")
            with k.turn("other 2", agent="helper") as turn:
                turn.context.put("fact", 1)
            first.context.put("key", 1)
        root.absorb(first)
        with pytest.raises(kedge.SettledMeanwhile):
            root.context.get("key")
        root.absorb(first)
        with child(k, root) as second:
            assert second.context.get("key") == 1
            second.context.put("key", 2)
            assert second.lineage == first.lineage
    assert k.view().context.get("key") == 2


def test_a_cached_result_of_a_child_rests_on_what_its_caller_had_read(bad: Kedge) -> None:
    def ask(session: str, deployment: str | None = None) -> Any:
        with bad.turn(session, agent="clerk", deployment=deployment) as caller:
            policy = caller.artifacts["shared/policy"].value
            with child(bad, caller) as callee:
                return callee.cache.get_or_compute("answer", lambda: f"by {policy}")

    release(bad, "one", "shared/policy")
    release(bad, "two", "shared/policy", live=False)
    assert ask("a") == "by shared/policy of one"
    assert ask("b", "two") == "by shared/policy of two"
    assert ask("c") == "by shared/policy of one"


# ── causes can be walked ──


def test_a_childs_first_commit_journals_what_its_callers_had_read(bad: Kedge) -> None:
    with helper(bad) as turn:
        seqs = [turn.context.put(f"fact/{n}", n) for n in range(2)]
    with clerk(bad) as root:
        root.context.get("fact/0")
        with child(bad, root, "planner") as planner:
            planner.context.get("fact/1")
            with child(bad, planner, "worker") as worker:
                worker.context.put("made", 1)
                assert (reads_of(root), reads_of(planner)) == ({seqs[0]}, {seqs[1]})
                chain = [record_of(turn) for turn in (root, planner, worker)]
                assert [turn.parent for turn in chain] == [None, root.id, planner.id]
                assert [turn.turn for turn in chain] == sorted(turn.turn for turn in chain), "callers come first"
                assert edges_of(root) == [("child", planner.id)]
                assert edges_of(planner) == [("child", worker.id)]
                worker.context.put("made", 2)
        root.context.get("fact/1")
        root.context.put("mine", 1)
        assert reads_of(root) == set(seqs)
    assert len(scope_of(root).backend.provenance.newest_edges(100)) == 2, "each edge once"


@pytest.mark.parametrize("next_commit", ["write", "headers", "end"])
def test_an_absorbed_reader_is_journaled_with_the_next_commit(bad: Kedge, next_commit: str) -> None:
    with helper(bad) as turn:
        seq = turn.context.put("fact", 1)
    with clerk(bad) as caller:
        for n in range(3):  # a further write of a known turn takes a short cut on PostgreSQL
            caller.context.put("key", n)
        with child(bad, caller) as callee:
            callee.context.get("fact")
            assert callee.lineage == {BAD}
        bad.settle(BAD)  # else the caller's next lineage would be new
        caller.absorb(callee)
        assert record_of(callee) is None
        if next_commit == "write":
            caller.context.put("key", 1)
        elif next_commit == "headers":
            caller.headers()
    assert reads_of(callee) == {seq}
    assert record_of(callee).parent == caller.id
    edges = [edge for edge in edges_of(caller) if edge[0] != "call"]
    assert edges == [("child", callee.id), ("absorb", callee.id)]


def test_a_graph_that_never_writes_is_journaled_in_parts(bad: Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "_ABSORBED_MAX", 2)
    with clerk(bad) as root:
        for n in range(3):
            with child(bad, root) as callee:
                pass
            root.absorb(callee)
            assert len(edges_of(root)) == (4 if n else 0)
    assert len(edges_of(root)) == 6


def test_a_child_and_its_caller_that_absorbed_it_can_both_go_on(bad: Kedge) -> None:
    with clerk(bad) as caller, child(bad, caller) as callee:
        caller.absorb(callee)
        callee.context.put("mine", 1)
        caller.context.put("mine too", 1)
        assert edges_of(caller) == [("child", callee.id), ("absorb", callee.id)]


def test_children_that_nobody_absorbed_are_counted(k: Kedge) -> None:
    def counted() -> list[tuple[str, str | None, str, int]]:
        backend = scope_of(turn).backend
        turns, edges = backend.provenance.newest_turns(100), backend.provenance.newest_edges(100)
        found = kedge.model.calls.unanswered(edges, turns, before=backend.clock.now() + 1)
        return [(t.metric, t.agent, t.value, t.count) for t in found]

    with k.turn(agent="planner") as turn:
        with child(k, turn, "coder") as coder:
            coder.context.put("code", 1)
        turn.absorb(coder)
        for _ in range(2):
            with child(k, turn, "tester") as tester:
                tester.context.put("tested", 1)
    assert counted() == [("call:unabsorbed", "planner", "to tester", 2)]


def test_an_input_that_a_child_answered_badly_is_pending(bad: Kedge) -> None:
    with clerk(bad) as caller:
        caller.memory.append("user", "a question")
        with child(bad, caller, "helper") as callee:
            callee.memory.append("assistant", "a bad answer")
    bad.rollback(BAD)
    assert [(item.session, item.agent) for item in bad.replay_pending()] == [("s", "helper")]


# ── what is refused ──

REFUSED: dict[str, tuple[Callable[[Kedge, Turn], Any], type[Exception], str]] = {
    "another session": (lambda k, turn: k.turn("t", agent="a", parent=turn), kedge.InvalidValue, "session='t'"),
    "a deployment": (
        lambda k, turn: k.turn(agent="a", parent=turn, deployment=BAD),
        kedge.InvalidValue,
        f"deployment='{BAD}'",
    ),
    "a peer": (lambda k, turn: k.turn(agent="a", parent=turn, peer="p"), kedge.InvalidValue, "peer='p'"),
    "nobody": (lambda k, turn: k.turn(parent=turn), kedge.InvalidValue, "agent="),
    "itself": (lambda _, turn: turn.absorb(turn), kedge.InvalidValue, "itself"),
    "a peer of a turn": (lambda k, turn: turn.absorb(child(k, turn), "p"), kedge.InvalidValue, "peer='p'"),
    "no headers": (
        lambda k, _: k.turn(agent="a", parent=7),  # type: ignore[arg-type]
        kedge.InvalidValue,
        "invalid headers 7: .*also take a turn",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_call_that_makes_no_child_is_refused(bad: Kedge, what: str) -> None:
    call, error, said = REFUSED[what]
    with clerk(bad) as turn:
        with pytest.raises(error, match=said):
            call(bad, turn)
        assert child(bad, turn).session == bad.turn("s", agent="a", parent=turn).session == "s"


def test_a_closed_turn_has_no_children_and_absorbs_nothing(bad: Kedge) -> None:
    with clerk(bad) as turn, child(bad, turn) as callee:
        pass
    with pytest.raises(kedge.TurnClosed, match="parent="):
        child(bad, turn)
    with pytest.raises(kedge.TurnClosed):
        turn.absorb(callee)


def test_a_turn_of_another_database_is_refused(new_place: NewPlace) -> None:
    with opened(new_place()) as one, opened(new_place()) as other, clerk(one) as turn:
        with pytest.raises(kedge.InvalidValue, match=r"another kedge\.open"):
            child(other, turn)
        with clerk(other) as stranger, pytest.raises(kedge.InvalidValue, match=r"another kedge\.open"):
            stranger.absorb(turn)


def test_what_a_caller_does_not_see_is_not_absorbed(bad: Kedge) -> None:
    release(bad, "hidden", "child/prompt", live=False)
    with bad.turn("t", agent="child", deployment="hidden") as stranger, clerk(bad) as caller:
        stranger.vectors("kb").upsert(["v"], [VECTOR])
        with pytest.raises(kedge.NotSeen):
            caller.absorb(stranger)
        assert caller.lineage == frozenset()
