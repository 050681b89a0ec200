"""Context drift: samples of sessions that any launch can compare, and the canary's state beside the live one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kedge
from kedge import InvalidValue, Kedge, SchemaRefused
from kedge.guard import drift
from kedge.guard.mirror import below_floor, mirrored
from kedge.model.drift import DRIFT, MEMORY_GROWTH, REFUSED, STALE_READS, TRANSLATED, UNABSORBED
from kedge.turns.kernel import Kernel
from tests.contract.conftest import HandClock
from tests.contract.launching import RELEASE, World

POSTGRES_ONE_IN = 24


def kernel_of(k: Kedge) -> Kernel:
    return k.guard._kernel


def values(k: Kedge, metric: str) -> list[tuple[str | None, Any]]:
    return [(sample.session, sample.value) for sample in kernel_of(k).backend.metrics.observations(metric)]


# ── samples of sessions ──


@pytest.mark.both
def test_reads_past_their_budget_are_a_share_of_each_turn(k: Kedge, clock: HandClock) -> None:
    with k.turn(agent="clerk") as turn:
        turn.context.put("rate", 1, fresh_for=60.0)
        turn.context.put("name", 1, fresh_for=3_600.0)
        turn.context.put("ever", 1)
    clock.time += 120
    for session, keys in (("s-1", ["rate", "name", "ever"]), ("s-2", ["name"]), ("s-3", ["ever"])):
        with k.turn(session=session, agent="support") as turn:
            for key in keys:
                turn.context.get(key)
            turn.memory.append("assistant", "done")
    recorder = drift.Recorder(kernel_of(k), DRIFT)
    clock.time += 290
    assert recorder.record() == 0, "the turns of sessions may still go on"
    clock.time += 11
    assert recorder.record() > 0
    assert values(k, STALE_READS) == [("s-1", 0.5), ("s-2", 0.0)]
    assert values(k, MEMORY_GROWTH) == [("s-1", 1), ("s-2", 1), ("s-3", 1)]
    assert recorder.record() == 0
    assert drift.Recorder(kernel_of(k), DRIFT).record() == 0, "one made anew stores nothing twice"


@pytest.mark.both
def test_answers_that_nobody_absorbed_are_failures_of_the_caller(k: Kedge, clock: HandClock) -> None:
    for session, absorbed in (("s-1", True), ("s-2", False)):
        with k.turn(session=session, agent="planner") as planner:
            with k.turn(agent="coder", parent=planner.headers("coder")) as coder:
                coder.context.put(f"code of {session}", 1)
                if absorbed:
                    planner.absorb(coder.headers())
            planner.memory.append("assistant", "done")
    with k.turn(session="s-3", agent="planner") as planner:
        planner.headers("mailer")  # never received: nobody answered
        planner.memory.append("assistant", "done")
    clock.time += 301
    drift.Recorder(kernel_of(k), [UNABSORBED]).record()
    assert values(k, UNABSORBED) == [("s-2", True)]


def test_messages_that_were_refused_or_translated_are_failures_of_their_session(k: Kedge, clock: HandClock) -> None:
    k.deploy("rules", {"support/speaks": {"case": 2}, "billing/speaks": {"case": 1}, "old/speaks": {"case": 3}})
    k.promote("rules")
    k.add_caster("case", 2, 1, lambda payload: payload)
    with k.turn(session="s-1", agent="support") as sender:
        for receiver in ("billing", "old"):
            headers = sender.send("case", {"n": 1}, audience=receiver)
            with k.turn(session="s-1", agent=receiver, parent=headers) as turn:
                turn.context.put(receiver, 1)
                try:
                    turn.receive("case", {"n": 1})
                except SchemaRefused:
                    assert receiver == "old"
        sender.memory.append("assistant", "done")
    clock.time += 301
    drift.Recorder(kernel_of(k), DRIFT).record()
    assert values(k, REFUSED) == values(k, TRANSLATED) == [("s-1", True)]


def test_only_what_is_asked_for_is_stored_and_nothing_of_before(k: Kedge, clock: HandClock) -> None:
    with k.turn(session="s-1", agent="support") as turn:
        turn.memory.append("assistant", "done")
    clock.time += 301
    assert drift.Recorder(kernel_of(k), ["resolved"]).record() == 0
    assert drift.Recorder(kernel_of(k), [UNABSORBED]).record() == 0
    assert drift.Recorder(kernel_of(k), DRIFT).record(since=clock.time) == 0
    assert drift.Recorder(kernel_of(k), DRIFT).record() == 1


def test_a_name_is_declaration_enough(k: Kedge) -> None:
    declared = k.guard.declare({name: {} for name in DRIFT} | {MEMORY_GROWTH: {"high": 50.0}})
    assert set(declared) == set(DRIFT)
    assert {metric.role for metric in declared.values()} == {"signal"}, "none rolls back, unless a release says so"
    assert (declared[MEMORY_GROWTH].high, declared[STALE_READS].better) == (50.0, "lower")


def test_a_recorder_made_late_begins_near_the_launch(
    k: Kedge, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "SEQS_AT_ONCE", 2)
    monkeypatch.setattr(drift, "TURNS_AT_ONCE", 2)
    began = clock.time + 70
    for number in range(9):
        clock.time += 10
        with k.turn(session=f"s-{number}", agent="support") as turn:
            turn.memory.append("assistant", "done")
        for step in range(3):
            kernel_of(k).backend.control.step(f"op-{number}-{step}", "step", by="x")
    clock.time += 301
    recorder = drift.Recorder(kernel_of(k), DRIFT)
    assert recorder.record(since=began) == 3
    assert [session for session, _ in values(k, MEMORY_GROWTH)] == ["s-6", "s-7", "s-8"]


@pytest.mark.both
def test_a_launch_holds_for_drift_as_for_any_signal(k: Kedge, clock: HandClock) -> None:
    world = World(k, clock)
    world.seconds = 100.0
    metrics = {"resolved": {"kind": "success", "margin": 0.3, "deadline": "15min"}, STALE_READS: {"deadline": "15min"}}
    release = RELEASE | {"metrics": metrics, "min_sessions": 500}
    with k.turn(agent="clerk") as turn:
        turn.context.put("old", 1, fresh_for=1.0)
        turn.context.put("new", 1, fresh_for=1e6)
    world.look(release)
    for number in range(18):
        for each in range(6):
            with k.turn(session=f"s-{number}-{each}", agent="support") as turn:
                is_canary = turn.artifacts["support/prompt"].value == "two"
                turn.context.get("old" if is_canary else "new")
                turn.observe("resolved", True)
                turn.context.put(f"case/{number}-{each}", "open")
        world.look(release)
    assert any(f"of the signal {STALE_READS}" in text for text in world.texts), world.texts
    assert "the guard has frozen the ramp" in world.look(release).why
    assert k.guard.recompute("v2").ok


# ── the canary's state beside the live one ──


@pytest.fixture
def canary(k: Kedge) -> Kedge:
    """Fill the collection, and start a canary with another embedder of the same dimension."""
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((60, 3)).astype(np.float32)
    ids = [f"row-{number}" for number in range(60)]
    with k.turn(agent="pipeline") as turn:
        turn.vectors("kb").upsert(ids, rows)
        for number in range(10):
            turn.context.put(f"fact-{number}", number)
    k.deploy("v2", {"support/prompt": "two", "shared/embedder": {"name": "e2", "dim": 3}}, canary=1.0)
    with k.turn(agent="pipeline", deployment="v2") as turn:
        turn.vectors("kb").upsert(ids, rows)  # the same geometry in another space
    return k


@pytest.mark.both
def test_searches_that_agree_overlap_and_others_do_not(canary: Kedge) -> None:
    k = canary
    assert mirrored(kernel_of(k), "v2", "kb") == [1.0] * 32
    with k.turn(agent="pipeline", deployment="v2") as turn:
        rows = np.random.default_rng(4).standard_normal((60, 3)).astype(np.float32)
        turn.vectors("kb").upsert([f"row-{number}" for number in range(60)], rows)
    scores = mirrored(kernel_of(k), "v2", "kb")
    assert 0.05 < sum(scores) / len(scores) < 0.4
    assert k.guard.drift("v2")["overlap@10.kb"] == pytest.approx(sum(scores) / len(scores))
    nearest = mirrored(kernel_of(k), "v2", "kb", k=1)
    assert sum(nearest) / len(nearest) < 0.5, "the row itself is not its nearest hit"


def test_queries_may_be_given_in_both_spaces(canary: Kedge) -> None:
    k = canary
    same = [([1.0, 0.0, 0.0], [1.0, 0.0, 0.0])]
    assert mirrored(kernel_of(k), "v2", "kb", same) == [1.0]
    opposite = [([1.0, 0.0, 0.0], [-1.0, 0.0, 0.0])]
    assert mirrored(kernel_of(k), "v2", "kb", opposite) == [0.0]
    assert k.guard.drift("v2", queries={"kb": opposite})["overlap@10.kb"] == 0.0


@pytest.mark.both
def test_facts_and_sessions_that_differ_are_shares(canary: Kedge) -> None:
    k = canary
    k.deploy("bad", {"other/prompt": "bad"})
    with k.turn(agent="other", deployment="bad") as turn:
        turn.context.put("hidden", 1)
    k.rollback("bad")
    assert k.guard.drift("v2")["context.divergence"] == 0.0
    for session in ("s-1", "s-2"):
        with k.turn(session=session, agent="support") as turn:
            turn.context.put("fact-1", "changed")
            turn.context.put("new", "fact")
            if session == "s-1":
                turn.memory.append("assistant", "done")
            turn.store("notes").space(session).put("own", 1)
    found = k.guard.drift("v2")
    assert found["context.divergence"] == pytest.approx(2 / 11)
    assert found["sessions.divergence"] == 0.5
    k.rollback("v2")
    with pytest.raises(kedge.IllegalTransition):
        k.guard.drift("v2")


def test_a_small_collection_has_few_hits_and_agrees_all_the_same(k: Kedge) -> None:
    with k.turn(agent="pipeline") as turn:
        turn.vectors("kb").upsert(["a", "b", "c"], [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    k.deploy("v2", {"support/prompt": "two"})
    assert mirrored(kernel_of(k), "v2", "kb") == [1.0] * 3


def test_what_has_nothing_to_rest_on_is_left_out(k: Kedge) -> None:
    k.deploy("v2", {"support/prompt": "two"})
    assert k.guard.drift("v2") == {}


# ── evidence of one look ──


def test_overlaps_below_a_floor_give_evidence_and_others_do_not() -> None:
    assert below_floor([0.3] * 32, 0.8) > 100
    assert below_floor([0.85] * 32, 0.8) < 1
    assert below_floor([], 0.8) == below_floor([0.8], 0.8) == 1.0
    rng = np.random.default_rng(0)
    exact = [float(score) for score in rng.binomial(10, 0.8, 32_000) / 10]
    alarms = sum(below_floor(exact[at : at + 32], 0.8) >= 20 for at in range(0, 32_000, 32))
    assert alarms <= 50, "at the floor itself: 5% of a thousand looks at most"
    with pytest.raises(InvalidValue, match="floor"):
        below_floor([0.5], 1.0)
    with pytest.raises(InvalidValue, match="overlap"):
        below_floor([1.5], 0.5)
