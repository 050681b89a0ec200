"""Turns through public calls: ownership, stamps, headers between processes, and when they end."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import kedge
from kedge import Kedge, Level, Turn
from kedge.turns.scope import scope_of
from tests.contract.conftest import HandClock

POSTGRES_ONE_IN = 8
ROW = [1.0, 0.0, 0.0]

READS: dict[str, Callable[[Turn], object]] = {
    "artifacts[]": lambda t: t.artifacts["support/prompt"],
    "artifacts in": lambda t: "support/prompt" in t.artifacts,
    "artifacts iter": lambda t: list(t.artifacts),
    "artifacts.get": lambda t: t.artifacts.get("nothing"),
    "artifacts.items": lambda t: t.artifacts.items(),
    "memory.history": lambda t: t.memory.history(),
    "memory.history limit": lambda t: t.memory.history(limit=2, tombstones=True),
    "documents.get": lambda t: t.documents("kb").get("nothing"),
    "documents.entry": lambda t: t.documents("kb").entry("d"),
    "documents.items": lambda t: t.documents("kb").items(),
    "documents.count": lambda t: t.documents("kb").count(),
    "context.get": lambda t: t.context.get("nothing"),
    "context.entry": lambda t: t.context.entry("a"),
    "context.items": lambda t: t.context.items("a"),
    "vectors.search": lambda t: t.vectors("kb").search(ROW),
    "vectors.get": lambda t: t.vectors("kb").get(["a"]),
    "vectors.fetch": lambda t: t.vectors("kb").fetch(["a"]),
    "vectors.batches": lambda t: t.vectors("kb").batches(),
    "vectors.count": lambda t: t.vectors("kb").count(),
    "vectors.ids": lambda t: t.vectors("kb").ids(),
    "search": lambda t: t.search(["kb"], ROW),
    "level": lambda t: t.level,
}
WRITES: dict[str, Callable[[Turn], object]] = {
    "memory.append": lambda t: t.memory.append("user", "x"),
    "memory.extend": lambda t: t.memory.extend([("assistant", "x"), ("user", "y")]),
    "documents.put": lambda t: t.documents("kb").put("d", 1),
    "documents.delete": lambda t: t.documents("kb").delete("d"),
    "context.put": lambda t: t.context.put("a", 1),
    "context.delete expect": lambda t: t.context.delete("nothing", expect=0),
    "context.delete": lambda t: t.context.delete("a"),
    "vectors.upsert": lambda t: t.vectors("kb").upsert(["a"], [ROW]),
    "vectors.delete": lambda t: t.vectors("kb").delete(["a"]),
    "cache": lambda t: t.cache.get_or_compute("key", lambda: 1),
    "observe": lambda t: t.observe("metric", 1),
    "headers": lambda t: t.headers(),
    "absorb": lambda t: t.absorb({}, peer="crm"),
}
OPERATIONS = READS | WRITES


@pytest.fixture
def v2(k: Kedge) -> str:
    k.deploy("v2", {"support/prompt": "bad"}, canary=1.0)
    return "v2"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_influenced_turn_ends_at_its_next_operation(k: Kedge, v2: str, operation: str) -> None:
    turn = k.turn(session="s", agent="support")
    assert turn.lineage == {v2}
    k.rollback(v2)
    for _ in range(2):
        with pytest.raises(kedge.RolledBack, match="'v2' was rolled back.*begin a new turn") as caught:  # noqa: RUF043
            OPERATIONS[operation](turn)
        assert caught.value.deployments == (v2,)
    with k.turn(session="s", agent="support") as again:
        OPERATIONS[operation](again)
        assert again.lineage <= {"external:crm"}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_uninfluenced_turn_goes_on(k: Kedge, v2: str, operation: str) -> None:
    turn = k.turn(session="s", agent="other")
    assert turn.lineage == frozenset()
    assert turn.seen == {v2}
    k.rollback(v2)
    OPERATIONS[operation](turn)
    assert turn.seen <= {"external:crm"}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_turn_that_did_not_see_what_is_settled_ends(k: Kedge, operation: str) -> None:
    turn = k.turn(session="s", agent="support")
    k.deploy("v3", {"other/prompt": "x"})
    k.promote("v3")
    OPERATIONS[operation](turn)
    k.settle("v3")
    with pytest.raises(kedge.SettledMeanwhile, match="'v3'.*begin a new turn"):  # noqa: RUF043
        OPERATIONS[operation](turn)
    with k.turn(session="s", agent="support") as again:
        OPERATIONS[operation](again)
        assert again.artifacts["other/prompt"].value == "x"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_closed_turn_does_nothing_more(k: Kedge, operation: str) -> None:
    with k.turn(session="s", agent="support") as turn:
        pass
    with pytest.raises(kedge.TurnClosed):
        OPERATIONS[operation](turn)


def test_a_turn_that_saw_what_is_settled_goes_on_without_it(k: Kedge, v2: str) -> None:
    turn = k.turn(session="s", agent="support")
    k.promote(v2)
    k.settle(v2)
    assert turn.artifacts["support/prompt"].value == "bad"
    assert turn.lineage == frozenset(), "settled ones drop out"
    turn.context.put("a", 1)
    assert k.view().context.get("a") == 1


# ── reads cost nothing on disk ──


@pytest.mark.only("sqlite", reason="it looks at the file; on PostgreSQL reads are read-only transactions")
def test_a_turn_that_writes_nothing_costs_no_disk_write(k: Kedge, v2: str, tmp_path: Path) -> None:
    with k.turn(session="s", agent="support") as turn:  # the first turn of a session stores its assignment
        for write in WRITES.values():
            write(turn)
    with k.turn(session="s", agent="support") as turn:  # what a result rests on is what was read before it
        for read in READS.values():
            read(turn)
        turn.cache.get_or_compute("key", lambda: 1)
    wal = tmp_path / "kedge.db-wal"
    with closing(sqlite3.connect(tmp_path / "kedge.db")) as beside:
        before = (beside.execute("PRAGMA data_version").fetchone(), wal.stat().st_size, wal.stat().st_mtime_ns, k.seq)
        with k.turn(session="s", agent="support") as turn:
            for read in READS.values():
                read(turn)
            turn.cache.get_or_compute("key", lambda: 1)
        for name in (None, v2):
            with k.turn(agent="support", deployment=name) as turn:
                turn.context.items()
                turn.vectors("kb").search(ROW)
        k.plan(v2)
        k.view(session="never seen").context.items()
        after = (beside.execute("PRAGMA data_version").fetchone(), wal.stat().st_size, wal.stat().st_mtime_ns, k.seq)
    assert after == before


# ── whose turn it is ──


def origins(k: Kedge, session: str = "s") -> dict[str, str]:
    view = k.view(session=session)
    entries = [*view.context.entries(), *view.documents("kb").entries()]
    return {entry.key: str(entry.origin) for entry in entries}


def test_an_agent_s_writes_are_derived_but_for_documents_and_what_users_say(k: Kedge, v2: str) -> None:
    with k.turn(session="s", agent="support") as turn:
        turn.context.put("fact", 1)
        turn.context.put("told", 1, origin="source")
        turn.documents("kb").put("upload", "x")
        turn.documents("kb").put("summary", "x", origin="derived")
        turn.memory.append("user", "question")
        turn.memory.append("assistant", "answer")
        turn.memory.append("user", "a guess at what the user means", origin="derived")
    assert origins(k) == {"fact": "derived", "told": "source", "upload": "source", "summary": "derived"}
    k.rollback(v2)
    assert origins(k) == {"told": "source", "upload": "source"}
    assert [m.content for m in k.view(session="s").memory.history()] == ["question"]


def test_all_that_a_person_writes_is_source(k: Kedge, v2: str) -> None:
    with k.turn(session="s", person="ann") as turn:
        assert (turn.person, turn.agent, turn.session) == ("ann", None, "s")
        turn.artifacts["support/prompt"]
        assert turn.lineage == {v2}
        turn.context.put("fact", 1)
        turn.memory.append("assistant", "I take over")
        turn.context.put("derived", 1, origin="derived")
    k.rollback(v2)
    assert origins(k) == {"fact": "source"}
    assert [m.content for m in k.view(session="s").memory.history()] == ["I take over"]


def test_a_source_inside_an_influenced_turn_is_in_the_plan(k: Kedge, v2: str) -> None:
    with k.turn(session="s", agent="support") as turn:
        turn.context.put("passed off", 1, origin="source")
    assert k.plan(v2).sources_inside == ("context:/passed off",)


# ── across processes ──


def test_a_callee_joins_its_caller_s_lineage_session_and_view(k: Kedge, v2: str) -> None:
    with k.turn(session="s", agent="support") as caller:
        headers = caller.headers()
    with k.turn(agent="search", parent=headers) as callee:
        assert callee.session == "s"
        assert callee.lineage == callee.seen == {v2}
        callee.context.put("found", 1)
    k.rollback(v2)
    assert k.view(session="s").context.get("found") is None
    with pytest.raises(kedge.RolledBack, match="'v2'"):
        k.turn(agent="search", parent=headers)


def test_headers_keep_what_the_caller_had_read(k: Kedge) -> None:
    with k.turn(session="s", agent="support") as turn:
        turn.context.get("a")
        turn.headers()
        provenance = scope_of(turn).backend.provenance
        (stored,) = provenance.turns([turn.id])
        assert provenance.reads_of([stored.turn])[stored.turn], "though the turn wrote nothing"


def test_a_caller_absorbs_its_callee_s_lineage(k: Kedge) -> None:
    k.deploy("finder", {"search/prompt": "new"}, canary=1.0)
    with k.turn(session="s", agent="support") as caller:
        with k.turn(agent="search", parent=caller.headers()) as callee:
            back = callee.headers()
        assert caller.lineage == frozenset()
        caller.absorb(back)
        assert caller.lineage == {"finder"}
        caller.context.put("answer", 1)
    k.rollback("finder")
    assert k.view(session="s").context.get("answer") is None


@pytest.mark.parametrize("how", ["unsigned", "expired", "another database", "wrong audience"])
def test_what_comes_unsigned_is_stamped_and_can_be_revoked(
    k: Kedge, clock: HandClock, tmp_path: Path, how: str
) -> None:
    with k.turn(session="s", agent="support") as caller:
        headers = caller.headers(audience="billing" if how == "wrong audience" else None)
    if how == "unsigned":
        headers = {"traceparent": "00-…"}
    if how == "expired":
        clock.time += 301
    if how == "another database":
        with kedge.open(tmp_path / "other") as other, other.turn(session="s", agent="clerk") as foreign:
            headers = foreign.headers()
    with k.turn(session="t", agent="search", parent=headers, peer="crm") as callee:
        assert callee.session == "t"
        assert callee.lineage == {"external:crm"}
        callee.context.put("found", 1)
    assert (k.deployment("external:crm").kind, k.deployment("external:crm").status) == ("external", "live")
    assert k.view(session="never seen").context.get("found") == 1, "every view sees it until it is rolled back"
    k.rollback("external:crm")
    assert k.view().context.get("found") is None
    k.reinstate("external:crm")
    assert k.view(session="t").context.get("found") == 1


def test_what_is_absorbed_unsigned_is_stamped(k: Kedge) -> None:
    with k.turn(session="s", agent="support") as turn:
        turn.absorb({"baggage": "kedge=forged.signature"}, peer="crm")
        assert turn.lineage == {"external:crm"}
        turn.context.put("answer", 1)
        assert turn.context.get("answer") == 1, "it sees its own write"
        turn.absorb({}, peer="crm")
        turn.absorb({})
        assert turn.lineage == {"external:crm", "external:unknown"}
    k.rollback("external:crm")
    assert k.view().context.get("answer") is None


@pytest.mark.parametrize("end", ["settle", "purge"])
def test_a_peer_gets_one_new_name_when_its_old_one_is_over(k: Kedge, end: str) -> None:
    for _ in range(2):
        k.turn(parent={}, peer="crm", agent="clerk")
    if end == "purge":
        k.rollback("external:crm")
        k.purge("external:crm", confirm="external:crm")
    else:
        k.settle("external:crm")
    for _ in range(3):
        assert k.turn(parent={}, peer="crm", agent="clerk").lineage == {"external:crm#2"}
    assert [d.name for d in k.deployments()] == ["base", "external:crm", "external:crm#2"]


def test_a_header_in_time_is_taken_by_its_audience(k: Kedge, clock: HandClock, v2: str) -> None:
    with k.turn(session="s", agent="support") as caller:
        headers = caller.headers(audience="search", ttl=60)
    clock.time += 59
    assert k.turn(agent="search", parent=headers).lineage == {v2}


# ── levels and samples ──


def test_below_full_derived_writes_are_refused_and_reads_and_sources_are_not(k: Kedge) -> None:
    turn, other = k.turn(session="s", agent="support"), k.turn(session="s", agent="other")
    assert turn.level is Level.FULL
    for level in (Level.FROZEN, Level.OFF):
        k.set_level("support", level, reason="incident", by="ann")
        assert (turn.level, other.level, k.levels()) == (level, Level.FULL, {"support": level})
        with pytest.raises(kedge.Frozen, match=f"'support' is at level {level}"):
            turn.context.put("a", 1)
        turn.memory.append("user", "still heard")
        turn.context.get("a")
        other.context.put("a", 1)
    k.set_level("support", "full")
    assert turn.level is Level.FULL
    assert k.levels() == {}
    turn.context.put("a", 2)
    assert [(e.kind, e.by, e.reason) for e in k.log(3)][-1] == ("level", "ann", "incident")


def test_samples_carry_the_session_s_deployments(k: Kedge, v2: str) -> None:
    with k.turn(session="s", agent="support") as turn:
        for value in (True, 0.5, "thumbs up"):
            turn.observe("resolved", value)
        samples = scope_of(turn).backend.metrics.observations("resolved")
    assert [s.value for s in samples] == [True, 0.5, "thumbs up"]
    number = k.deployment(v2).number
    assert {(s.session, s.agent, s.seen) for s in samples} == {("s", "support", frozenset({number}))}


# ── sessions ──


def test_what_a_session_sees_is_fixed_at_its_first_turn(k: Kedge) -> None:
    k.turn(session="early", agent="support")
    k.deploy("v2", {"support/prompt": "new"})
    k.promote("v2")
    assert k.turn(session="early", agent="support").artifacts["support/prompt"].value == "hello"
    assert k.turn(session="late", agent="support").artifacts["support/prompt"].value == "new"
    assert (k.assignment("early"), k.assignment("late")) == ([], ["v2"])
    assert k.refresh("early", by="ann") == ["v2"]
    assert k.turn(session="early", agent="support").artifacts["support/prompt"].value == "new"


def test_raising_the_weight_moves_no_running_session(k: Kedge) -> None:
    k.deploy("v2", {"support/prompt": "new"}, canary=0.0)
    assert k.assignment("s") == []
    k.canary("v2", 1.0)
    assert (k.assignment("s"), k.assignment("t")) == ([], ["v2"])


def test_a_turn_under_way_keeps_its_view_through_a_refresh(k: Kedge) -> None:
    turn = k.turn(session="s", agent="support")
    k.deploy("v2", {"support/prompt": "new"})
    k.promote("v2")
    k.refresh("s")
    assert turn.artifacts["support/prompt"].value == "hello"


def test_a_session_opened_in_a_deployment_stays_in_it(k: Kedge) -> None:
    k.deploy("v2", {"support/prompt": "new"})
    for name in ("v2", None, "v2"):
        assert k.turn(session="s", agent="support", deployment=name).seen == {"v2"}
    assert k.refresh("s") == ["v2"]
    k.promote("v2")
    k.settle("v2")
    assert k.turn(session="s", agent="support", deployment="v2").lineage == frozenset(), "settled: everybody is in it"
    assert k.turn(session="new", agent="support", deployment="v2").artifacts["support/prompt"].value == "new"
    assert k.view(deployment="v2").artifacts["support/prompt"].value == "new"


def test_a_rolled_back_deployment_returns_to_those_that_had_it(k: Kedge, v2: str) -> None:
    k.turn(session="had", agent="support")
    k.rollback(v2)
    k.turn(session="had not", agent="support")
    k.reinstate(v2)
    assert (k.assignment("had"), k.assignment("had not")) == ([v2], [])


def test_a_session_s_time_to_live_fixes_it_anew_between_turns(place: str, clock: HandClock) -> None:
    with kedge.open(place, durability="normal", clock=clock, session_ttl=60) as k:
        k.deploy("mine", {"a/prompt": "x"})
        k.turn(session="s", agent="clerk")
        k.turn(session="t", deployment="mine", agent="clerk")
        k.deploy("v2", {"support/prompt": "new"})
        k.promote("v2")
        clock.time += 60
        assert k.assignment("s") == []
        assert k.view(session="s").seen == frozenset()
        clock.time += 1
        assert k.view(session="s").seen == {"v2"}, "what its next turn will see"
        assert k.view(session="t").seen == {"mine", "v2"}
        assert k.turn(session="s", agent="clerk").seen == {"v2"}
        assert k.turn(session="t", agent="clerk").seen == {"mine", "v2"}, (
            "what it was opened with stays, as with a refresh"
        )


def test_a_turn_without_a_session_sees_what_is_live(k: Kedge) -> None:
    k.deploy("v2", {"support/prompt": "new"}, canary=1.0)
    assert k.turn(agent="support").seen == frozenset()
    assert k.turn(agent="support", deployment="v2").lineage == {"v2"}
    k.promote("v2")
    assert k.turn(agent="support").lineage == {"v2"}


def test_within_a_turn_other_turns_commits_appear(k: Kedge) -> None:
    with k.turn(session="s", agent="clerk") as one, k.turn(session="t", agent="clerk") as other:
        assert one.context.get("a") is None
        other.context.put("a", 1)
        assert one.context.get("a") == 1


def test_a_cache_never_serves_across_versions_and_vanishes_with_a_rollback(k: Kedge) -> None:
    computed: list[str] = []

    def ask(session: str) -> Any:
        with k.turn(session=session, agent="support") as turn:
            prompt = turn.artifacts["support/prompt"].value

            def compute() -> str:
                computed.append(prompt)
                return f"{prompt}!"

            return turn.cache.get_or_compute("greeting", compute)

    assert (ask("old"), ask("old")) == ("hello!", "hello!")
    k.deploy("v2", {"support/prompt": "bad"}, canary=1.0)
    assert (ask("new"), ask("old"), ask("new")) == ("bad!", "hello!", "bad!")
    k.rollback("v2")
    assert (ask("new"), ask("newer")) == ("hello!", "hello!")
    assert computed == ["hello", "bad"]


def test_what_comes_from_the_cache_influences(k: Kedge, v2: str) -> None:
    with k.turn(session="s", agent="clerk") as turn:
        turn.cache.get_or_compute("a", lambda: turn.artifacts["support/prompt"].value)
    with k.turn(session="s", agent="clerk") as turn:
        assert turn.cache.get_or_compute("a", lambda: "other") == "bad"
        assert turn.lineage == {v2}


def test_a_cached_result_expires(k: Kedge, clock: HandClock) -> None:
    for later, expected in ((0, 1), (59, 1), (2, 2)):
        clock.time += later
        with k.turn(session="s", agent="clerk") as turn:
            assert turn.cache.get_or_compute("a", lambda: expected, ttl=60) == expected  # noqa: B023


def test_a_call_that_a_rollback_hid_in_part_is_not_repeated_in_whole(k: kedge.Kedge) -> None:
    k.deploy("v9", {"support/prompt": "x"}, canary=1.0)
    said = [("user", "q"), ("assistant", "a")]
    with k.turn(session="split", agent="support") as turn:
        turn.memory.extend(said, idempotency="call-1")
    k.rollback("v9")
    with k.turn(session="split", agent="support") as turn:
        with pytest.raises(kedge.IdempotencyMismatch, match="call-1"):
            turn.memory.extend(said, idempotency="call-1")
        turn.memory.extend(said[1:], idempotency="call-2")
        assert [m.content for m in turn.memory.history()] == ["q", "a"]
