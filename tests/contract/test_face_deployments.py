"""Deployments, plans, rollbacks, purges, past views and change notices through public calls."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest

import kedge
from kedge import Kedge, Status
from tests.contract.conftest import MONDAY, HandClock

POSTGRES_ONE_IN = 4


def soon(moment: float) -> Any:
    """Stand for a moment, and the microseconds that follow each entry while the clock stands."""
    return pytest.approx(moment, rel=0, abs=0.001)


def contaminate(k: Kedge, session: str = "s") -> None:
    """Let a session of the canary "v2" write to every store, over clean values too."""
    with k.turn(session="clean", agent="other") as turn:
        turn.context.put("fact", "clean", fresh_for=60)
        turn.context.put("other", "clean")
        turn.vectors("kb").upsert(["a"], [[1.0, 0.0, 0.0]])
    k.deploy("v2", {"support/prompt": "bad", "support/tone": "rude"}, canary=1.0)
    with k.turn(session=session, agent="support") as turn:
        turn.memory.append("user", "question")
        turn.memory.append("assistant", "answer")
        turn.context.put("fact", "bad")
        turn.context.put("new", "bad")
        turn.context.delete("other")
        turn.vectors("kb").upsert(["a", "b"], [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        turn.documents("kb").put("upload", "from a user")


def test_a_deployment_says_how_it_was_declared(k: Kedge) -> None:
    first = k.deployments()[0].name
    declared = k.deploy("v3", {"support/code": "q"}, base=first, canary=0.5).declared
    assert declared is not None
    assert (declared.canary, declared.base, declared.independent) == (0.5, first, False)
    again = k.canary("v3", 0.75)
    assert again.declared == declared


def test_a_deployment_says_what_it_is(k: Kedge, clock: HandClock) -> None:
    made = k.deploy("v2", {"support/model": "m", "support/prompt": "p"}, by="ann", note="friday's")
    assert (made.name, made.number, made.status, made.kind, made.weight) == ("v2", 2, Status.STAGED, "release", 0.0)
    assert (made.artifacts, made.bases) == (("support/model", "support/prompt"), ())
    assert (made.note, made.created_by, made.by, made.created_at) == ("friday's", "ann", "ann", soon(MONDAY))
    assert made.warnings == ("support/model changes a model without naming its training-data snapshot",)
    assert made.digest.startswith("sha256:")
    assert {key: (pin.value, pin.kind) for key, pin in made.pins.items()} == {
        "support/model": (None, "model"), "support/prompt": (None, "prompt"),
    }  # fmt: skip
    clock.time += 10
    started = k.canary("v2", 0.25, by="bob")
    assert (started.status, started.weight, started.by, started.created_by) == (Status.CANARY, 0.25, "bob", "ann")
    assert (started.since, started.created_at) == (MONDAY + 10, made.created_at)
    assert k.deployment("v2") == started == k.deployments()[-1]
    assert k.deployment("base").status is Status.SETTLED


def test_by_is_the_process_s_user_unless_it_is_given(k: Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "cron")
    assert k.deploy("v2", {"support/prompt": "x"}).by == "cron"


def test_promotion_reports_what_is_shadowed_and_what_both_wrote(k: Kedge) -> None:
    k.deploy("one", {"support/prompt": "one", "support/tone": "kind"})
    k.deploy("two", {"support/prompt": "two"}, canary=1.0)
    with k.turn(session="s", agent="support") as turn:
        turn.context.put("fact", 2)
    with k.turn(agent="other") as turn:
        turn.context.put("fact", 1)
    k.promote("two")
    report = k.promote("one")
    assert (report.deployment.name, report.deployment.status) == ("one", Status.LIVE)
    assert report.shadowed == {"support/prompt": "two"}


def test_promotion_reports_keys_that_both_sides_wrote(k: Kedge) -> None:
    contaminate(k)
    assert set(k.promote("v2").written_by_both) >= {"context:/fact", "context:/other", "vectors:kb/a"}
    assert not set(k.promote(k.deploy("v3", {"x/prompt": "x"}).name).written_by_both)


def test_a_plan_says_what_a_rollback_does_and_changes_nothing(k: Kedge, clock: HandClock) -> None:
    contaminate(k)
    k.deploy("v3", {"support/prompt": "worse"}, base="v2")
    clock.time += 61
    before = (k.epoch, k.seq)
    plan = k.plan("v2")
    assert (k.epoch, k.seq) == before
    assert (plan.deployment, plan.status, plan.goes_with_it) == ("v2", Status.CANARY, ("v3",))
    effects = {(e.store, e.space): e for e in plan.effects}
    assert {where: e.writes for where, e in effects.items()} == {
        ("artifacts", ""): 3,
        ("context", ""): 3,
        ("memory", "s"): 1,
        ("vectors", "kb"): 2,
    }
    context = effects["context", ""]
    assert (context.keys_vanish, context.keys_fall_back, context.keys_reappear) == (1, 1, 1)
    assert (plan.writes_total, plan.stale_keys) == (9, 1)
    stale = next(change for change in plan.examples if change.stale)
    assert (stale.store, stale.key, stale.to_at) == ("context", "fact", soon(MONDAY))
    assert (plan.sessions, plan.agents) == (("s",), ("support",))
    assert [i.store for i in plan.replay_inputs] == ["memory", "documents"]
    assert plan.sources_inside == tuple(f"{i.store}:{i.space}/{i.key}" for i in plan.replay_inputs)
    assert plan.pins["support/tone"] == "nothing: it was new"
    assert plan.pins["support/prompt"] == "base's prompt: hello"


def test_a_plan_before_the_budget_is_over_counts_no_stale_key(k: Kedge, clock: HandClock) -> None:
    contaminate(k)
    clock.time += 59
    assert k.plan("v2").stale_keys == 0
    clock.time += 2
    assert k.plan("v2").stale_keys == 1
    entry = k.view().context.entry("fact")
    assert entry is not None
    assert (entry.stale, entry.fresh_for) == (True, 60.0)


def test_a_rollback_hides_all_of_it_and_nothing_else(k: Kedge) -> None:
    contaminate(k)
    report = k.rollback("v2", reason="rude", by="ann")
    assert report.ok
    assert (report.deployment, report.reason, report.by, report.epoch) == ("v2", "rude", "ann", k.epoch)
    assert report.indicators is not None
    assert (report.indicators.hidden_writes_total, report.indicators.replay_pending_total) == (8, 2)
    view = k.view(session="s")
    assert view.context.items() == {"fact": "clean", "other": "clean"}
    assert [m.content for m in view.memory.history()] == ["question"]
    assert [(m.content, m.retracted) for m in view.memory.history(tombstones=True)] == [
        ("question", False),
        (None, True),
    ]
    assert [hit.id for hit in view.vectors("kb").search([0.0, 0.0, 1.0], 5)] == ["a"]
    assert view.documents("kb").get("upload") == "from a user"
    assert "support/tone" not in view.artifacts
    k.reinstate("v2")
    assert view.context.items() == {"fact": "bad", "new": "bad"}


def test_a_dependant_goes_and_comes_with_its_base(k: Kedge) -> None:
    k.deploy("v2", {"support/prompt": "two"})
    k.promote("v2")
    k.deploy("v3", {"support/prompt": "three"})
    k.deploy("v4", {"support/prompt": "four"}, independent=True)
    assert (k.deployment("v3").bases, k.deployment("v4").bases) == (("v2",), ())
    assert k.rollback("v2").went_with_it == ("v3",)
    assert k.deployment("v3").status is Status.ROLLED_BACK
    assert k.deployment("v4").status is Status.STAGED
    k.reinstate("v2")
    assert k.deployment("v3").status is Status.STAGED


def test_the_log_says_who_what_and_why(k: Kedge) -> None:
    contaminate(k)
    k.rollback("v2", reason="rude", by="ann")
    kinds = [(entry.kind, entry.deployment) for entry in k.log(5)]
    assert ("rollback", "v2") in kinds
    entry = next(e for e in k.log() if e.kind == "rollback")
    assert (entry.by, entry.reason) == ("ann", "rude")
    assert len(k.log(2)) == 2


def test_an_interrupted_rollback_is_finished_by_another(k: Kedge) -> None:
    contaminate(k)
    assert not k.rollback("v2", verify=False).ok
    with kedge.open(k.url) as other:
        assert len(other.recover()) == 1
    assert k.recover() == []


# ── purge ──


def test_a_purge_waits_for_the_snapshots_that_reach_it(k: Kedge) -> None:
    contaminate(k)
    k.snapshot("friday")
    k.rollback("v2")
    k.snapshot("after")
    with pytest.raises(kedge.SnapshotInTheWay, match="'friday' still shows 'v2'.*release it"):  # noqa: RUF043
        k.purge("v2", confirm="v2")
    k.release_snapshot("friday")
    told: list[tuple[int, int]] = []
    report = k.purge("v2", confirm="v2", by="ann", progress=lambda done, total: told.append((done, total)))
    assert report.erased_writes == 8
    assert told[-1][0] == told[-1][1]
    assert k.deployment("v2").status is Status.PURGED
    assert k.view(session="s").context.items() == {"fact": "clean", "other": "clean"}
    assert [s.name for s in k.snapshots()] == ["before:base", "after"] or "before:v2" not in [
        s.name for s in k.snapshots()
    ]


def test_a_past_that_saw_what_is_purged_is_a_clear_error(k: Kedge) -> None:
    contaminate(k)
    seq = k.seq
    inside = k.at(seq, session="s")
    outside = k.at(seq)
    k.rollback("v2")
    k.purge("v2", confirm="v2")
    for read in (lambda: inside.context.get("fact"), lambda: k.at(seq, session="s")):
        with pytest.raises(kedge.PastUnreadable, match=f"seq {seq} saw 'v2', which was purged"):
            read()
    assert outside.context.items() == {"fact": "clean", "other": "clean"}


def test_a_turn_that_carries_something_purged_ends(k: Kedge) -> None:
    contaminate(k)
    turn = k.turn(session="s", agent="support")
    k.rollback("v2")
    k.purge("v2", confirm="v2")
    with pytest.raises(kedge.RolledBack):
        turn.context.put("late", 1)


# ── the past ──


def test_a_snapshot_a_seq_and_a_time_name_the_same_past(k: Kedge, clock: HandClock) -> None:
    contaminate(k)
    snapshot = k.snapshot("friday", by="ann")
    assert (snapshot.name, snapshot.by, snapshot.epoch, snapshot.at) == ("friday", "ann", k.epoch, soon(MONDAY))
    clock.time += 3600
    k.rollback("v2")
    with k.turn(agent="other") as turn:
        turn.context.put("fact", "later")
        turn.context.put("more", "later")
    moment = datetime.fromtimestamp(MONDAY + 1800, UTC)
    for point in ("friday", snapshot, snapshot.seq, moment):
        past = k.at(point, session="s")
        assert past.context.items() == {"fact": "bad", "new": "bad"}
        assert past.seen == {"v2"}
        assert [m.content for m in past.memory.history()] == ["question", "answer"]
        assert [hit.id for hit in past.vectors("kb").search([0.0, 0.0, 1.0], 1)] == ["b"]
        assert past.artifacts["support/prompt"].value == "bad"
        assert k.at(point).context.items() == {"fact": "clean", "other": "clean"}
        assert k.at(point, deployment="v2").context.items() == {"fact": "bad", "new": "bad"}
        assert k.at(point, session="not yet").seen == {"v2"}, "treated as new, under the canary that ran then"
    assert k.view(session="s").context.items() == {"fact": "later", "other": "clean", "more": "later"}


def test_a_moment_is_over_even_where_the_clock_stands(k: Kedge, clock: HandClock) -> None:
    with k.turn(agent="other") as turn:
        turn.context.put("fact", "first")
    moment = datetime.fromtimestamp(k.log()[-1].at, UTC)
    entry = k.view().context.entry("fact")
    assert entry is not None
    written = datetime.fromtimestamp(entry.at, UTC)
    with k.turn(agent="other") as turn:
        turn.context.put("fact", "second")
    assert k.at(moment).context.get("fact") is None
    assert k.at(written).context.get("fact") == "first", "at the same reading of the clock"
    clock.time += 60
    with pytest.raises(kedge.PastUnreadable, match="is in the future"):
        k.at(datetime.fromtimestamp(clock.time, UTC))
    before = k.at(datetime.fromtimestamp(clock.time - 1, UTC))
    with k.turn(agent="other") as turn:
        turn.context.put("fact", "third")
    assert before.context.get("fact") == "second"


def test_a_view_of_the_present_moves_and_a_past_one_stands(k: Kedge) -> None:
    contaminate(k)
    now, then = k.view(session="s"), k.at(k.seq, session="s")
    assert (now.upto, then.upto) == (None, k.seq)
    k.rollback("v2")
    assert (now.context.get("fact"), then.context.get("fact")) == ("clean", "bad")
    assert now.seen == frozenset()
    assert then.seen == {"v2"}


def test_reading_reaches_back_to_the_horizon_and_to_named_snapshots(k: Kedge, clock: HandClock) -> None:
    contaminate(k)
    seq = k.seq
    k.snapshot("friday")
    k.set_retention(600, by="ann")
    clock.time += 599
    assert k.at(seq).context.get("fact") == "clean"
    clock.time += 2
    with pytest.raises(kedge.PastUnreadable, match=f"seq {seq} is before the horizon.*named snapshot"):
        k.at(seq)
    with pytest.raises(kedge.PastUnreadable, match="horizon"):
        k.at(datetime.fromtimestamp(MONDAY, UTC))
    assert k.at("friday").context.get("fact") == "clean"
    k.set_retention(None)
    assert k.at(seq).context.get("fact") == "clean"
    assert ("retention", "ann") in [(e.kind, e.by) for e in k.log()]


def test_staging_takes_a_snapshot_that_settling_lets_go(k: Kedge) -> None:
    k.deploy("v2", {"support/prompt": "two"})
    assert "before:v2" in [s.name for s in k.snapshots()]
    assert k.at("before:v2").artifacts["support/prompt"].value == "hello"
    k.promote("v2")
    k.settle("v2")
    assert k.snapshots() == []


def test_a_view_takes_no_writes(k: Kedge) -> None:
    view = k.view()
    for store, call in (
        (view.context, "put"),
        (view.memory, "append"),
        (view.documents("kb"), "put"),
        (view.vectors("kb"), "upsert"),
    ):
        assert not hasattr(store, call)


# ── change notice ──


def wait_for(condition: object, seconds: float = 20.0) -> bool:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.005)
    return False


def test_a_callback_is_told_of_epochs_until_it_is_taken_away(k: Kedge) -> None:
    told: list[int] = []
    remove = k.on_change(told.append)
    k.deploy("v2", {"support/prompt": "two"})
    assert wait_for(lambda: told[-1:] == [k.epoch])
    assert told == sorted(set(told))
    remove()
    k.promote("v2")
    time.sleep(0.1)
    assert told[-1] == k.epoch - 1


def test_a_callback_that_raises_is_reported_and_called_again(k: Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: reported.append(str(args.exc_value)))
    told: list[int] = []

    def fail(epoch: int) -> None:
        told.append(epoch)
        raise ValueError(f"no reload at {epoch}")

    k.on_change(fail)
    for n in range(2):
        k.deploy(f"d{n}", {"support/prompt": str(n)})
        assert wait_for(lambda: told[-1:] == [k.epoch])
    assert wait_for(lambda: len(reported) == len(told))
    assert reported[0].startswith("no reload at")


WATCH = """
import sys, kedge
k = kedge.open(sys.argv[1])
seen = k.view(session="s")
def changed(epoch):
    print(epoch, sorted(seen.seen), flush=True)
k.on_change(changed)
print("watching", flush=True)
sys.stdin.readline()
"""


def test_another_process_is_told(k: Kedge, place: str) -> None:
    k.deploy("v2", {"support/prompt": "two"}, canary=1.0)
    with subprocess.Popen(
        [sys.executable, "-c", WATCH, place],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    ) as watcher:
        assert watcher.stdout is not None
        assert watcher.stdin is not None
        assert watcher.stdout.readline() == "watching\n"
        k.rollback("v2")
        assert watcher.stdout.readline() == f"{k.epoch} []\n"
        k.reinstate("v2")
        assert watcher.stdout.readline() == f"{k.epoch} ['v2']\n"
        watcher.stdin.write("\n")
        watcher.stdin.close()
    assert watcher.returncode == 0


@pytest.mark.both
def test_a_deployment_goes_with_its_base_though_they_share_no_artifact(k: kedge.Kedge) -> None:
    k.deploy("v2", {"support/prompt": "new"})
    assert k.deploy("v3", {"writer/prompt": "made for v2"}, base="v2").bases == ("v2",)
    with k.turn(agent="support", deployment="v3") as turn:
        assert turn.artifacts["support/prompt"].value == "new"
    k.promote("v2")
    k.promote("v3")
    k.rollback("v2")
    assert k.deployment("v3").status == "rolled back"
    k.reinstate("v2")
    assert k.deployment("v3").status == "live"
    assert k.deploy("v4", {"other/prompt": "x"}, base="base").bases == (), "a settled base is seen by everyone"


def test_a_base_and_independence_exclude_each_other(k: kedge.Kedge) -> None:
    k.deploy("v2", {"support/prompt": "new"})
    with pytest.raises(kedge.InvalidValue, match="exclude each other"):
        k.deploy("v3", {"support/prompt": "newer"}, base="v2", independent=True)
    assert [found.name for found in k.deployments()] == ["base", "v2"]


@pytest.mark.both
@pytest.mark.parametrize("character", ["v", "\u00e9", "\U0001f600"])
def test_a_version_label_is_bounded_alike_on_both_backends(k: kedge.Kedge, character: str) -> None:
    size = len(character.encode())
    key = f"support/{''.join(chr(0x1F600 + n % 60) for n in range(504))}"  # the longest in bytes

    def deploy(name: str, version: str) -> None:
        k.deploy(name, {key: kedge.Artifact(uri="models:/m", digest="sha256:1", version=version)})

    deploy("fits", character * (512 // size))
    for number in (512 // size + 1, 100_000):
        with pytest.raises(kedge.InvalidValue, match="more than 512; use a shorter label"):
            deploy("too-long", character * number)
