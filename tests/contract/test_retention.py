"""Retention policies: content that no view can need is reclaimed, and no readable view answers otherwise."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

import kedge
from kedge.recovery import retention
from tests.contract import forward
from tests.contract.forward import DAY, Clock
from tests.databases import raw_rows
from tests.stateful.share import SOAKING

clock, k = forward.clock, forward.k

KEYS = ("a", "b", "c")
POSTGRES_ONE_IN = 3  # of each test function with parameters
NAMES = ("v1", "v2", "v3", "v4")


def put(k: kedge.Kedge, value: str, key: str = "a", **turn: Any) -> int:
    with k.turn(**{"agent": "clerk"} | turn) as writing:
        return writing.context.put(key, value)


def contents(place: str, key: str | None = None) -> int:
    """Return how many writes to the shared context, or to one key of it, have content."""
    sql = (
        "SELECT count(*) FROM writes w JOIN spaces s ON s.id = w.space "
        "WHERE s.store = 'context' AND w.salt IS NOT NULL AND w.payload IS NOT NULL"
        + ("" if key is None else f" AND w.name = '{key}'")
    )
    return int(raw_rows(place, sql)[0][0])


def test_without_a_policy_everything_is_kept(k: kedge.Kedge, place: str, clock: Clock) -> None:
    for value in "123":
        put(k, value)
    clock.ahead += 10 * DAY
    put(k, "4")
    k.set_retention(DAY)
    assert k.reclaim().rows == 0
    assert contents(place) == 4


def test_what_was_superseded_before_the_age_goes(k: kedge.Kedge, clock: Clock) -> None:
    seqs = [put(k, value) for value in "123"]
    k.set_retention(DAY, store="context")
    assert k.reclaim().rows == 0, "nothing is a day old"
    clock.ahead += 2 * DAY
    put(k, "other", "b")
    assert k.reclaim().rows == 2
    assert k.reclaim().rows == 0, "it goes on where it ended"
    assert k.view().context.items() == {"a": "3", "b": "other"}
    with pytest.raises(kedge.PastUnreadable, match=r"'a' at seq \d+ was superseded.*named snapshot"):
        k.at(seqs[0]).context.get("a")
    with pytest.raises(kedge.PastUnreadable, match="reclaimed by a retention policy"):
        k.at(seqs[1]).context.items()
    assert k.at(seqs[2]).context.get("a") == "3"
    assert k.fsck(full=True).findings == ()


def test_a_later_write_supersedes_what_was_looked_at_before(k: kedge.Kedge, clock: Clock) -> None:
    k.set_retention(DAY, store="context")
    for _ in range(3):
        put(k, "x")
        clock.ahead += 2 * DAY
        put(k, "y", "b")
        k.reclaim()
    clock.ahead += 2 * DAY
    put(k, "end", "c")
    k.reclaim()
    assert k.view().context.items() == {"a": "x", "b": "y", "c": "end"}
    assert k.reclaim().rows == 0


def test_what_a_rollback_would_show_again_stays_until_it_is_settled(k: kedge.Kedge, clock: Clock) -> None:
    put(k, "good")
    k.deploy("v1", {"clerk/prompt": "x"}, canary=1.0)
    k.promote("v1")
    put(k, "bad")
    k.set_retention(DAY, store="context")
    clock.ahead += 2 * DAY
    put(k, "end", "c")
    assert k.reclaim().rows == 0
    k.rollback("v1", verify=False)
    assert k.reclaim().rows == 0
    assert k.view().context.get("a") == "good"
    k.reinstate("v1")
    assert k.view().context.get("a") == "bad"
    k.settle("v1")
    clock.ahead += 2 * DAY
    put(k, "end", "c")
    assert k.reclaim().rows > 0
    assert k.view().context.get("a") == "bad"
    assert k.fsck(full=True).findings == ()


def test_a_snapshot_keeps_what_it_shows(k: kedge.Kedge, clock: Clock) -> None:
    put(k, "1")
    k.snapshot("friday")
    put(k, "2")
    put(k, "3")
    k.set_retention(DAY, store="context")
    clock.ahead += 2 * DAY
    put(k, "end", "c")
    assert k.reclaim().rows == 1
    assert k.at("friday").context.get("a") == "1"
    k.release_snapshot("friday")
    assert k.reclaim().rows == 1


def test_a_pending_replay_keeps_what_it_reads(k: kedge.Kedge, clock: Clock) -> None:
    put(k, "then")
    k.deploy("v1", {"support/prompt": "x"}, canary=1.0)
    k.promote("v1")
    with k.turn(session="s", agent="support") as turn:
        turn.memory.append("user", "what is a?")
        turn.memory.append("assistant", turn.context.get("a"))
    put(k, "now")
    k.rollback("v1", verify=False)
    for snapshot in k.snapshots():
        k.release_snapshot(snapshot.name)
    k.set_retention(DAY, store="context")
    clock.ahead += 2 * DAY
    put(k, "end", "c")
    assert k.reclaim().rows == 0
    found: list[Any] = []
    k.replay(lambda turn, _: found.append(turn.context.get("a")))
    assert found == ["then"]
    assert k.reclaim().rows == 1


def test_the_policy_of_a_space_goes_before_that_of_its_store(k: kedge.Kedge, clock: Clock) -> None:
    for session in ("kept", "gone"):
        with k.turn(session=session, person="ann") as turn:
            seq = turn.documents(session).put("d", "1")
            turn.documents(session).put("d", "2")
            assert seq
    k.set_retention(DAY, store="documents")
    k.set_retention(None, store="documents", space="kept")
    clock.ahead += 2 * DAY
    put(k, "end")
    assert k.reclaim().rows == 1
    k.drop_retention(store="documents", space="kept")
    assert k.reclaim().rows == 1
    assert [policy.store for policy in k.retention()] == ["documents"]


def test_a_hold_keeps_everything_and_refuses_a_purge(k: kedge.Kedge, clock: Clock) -> None:
    put(k, "1")
    k.deploy("v1", {"clerk/prompt": "x"}, canary=1.0)
    put(k, "2", deployment="v1")
    put(k, "3")
    k.set_retention(DAY, store="context")
    k.set_retention(store="context", hold=True)
    clock.ahead += 2 * DAY
    put(k, "4")
    assert k.reclaim().rows == 0
    k.rollback("v1", verify=False)
    with pytest.raises(kedge.HoldInTheWay, match=r"'v1' wrote to context.*hold on the store 'context'"):
        k.purge("v1", confirm="v1")
    k.drop_retention(store="context", hold=True)
    k.purge("v1", confirm="v1")
    assert k.reclaim().rows == 1


def test_a_repeated_call_whose_content_was_reclaimed_is_still_a_repeat(k: kedge.Kedge, clock: Clock) -> None:
    with k.turn(agent="clerk") as turn:
        seq = turn.context.put("a", "1", idempotency="once")
    put(k, "2")
    k.set_retention(DAY, store="context")
    clock.ahead += 2 * DAY
    put(k, "end", "c")
    assert k.reclaim().rows == 1
    with k.turn(agent="clerk") as turn:
        assert turn.context.put("a", "1", idempotency="once") == seq
    assert k.view().context.get("a") == "2"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"age": 1, "store": "contexts"}, "invalid store 'contexts'.*context"),
        ({"age": -1, "store": "context"}, "invalid retention -1"),
        ({"age": 1, "store": "context", "hold": True}, "invalid age 1 of a hold"),
        ({"hold": True}, "need store="),
        ({"age": 1, "space": "x"}, "need store="),
    ],
)
def test_a_policy_that_means_nothing_is_refused(k: kedge.Kedge, given: dict[str, Any], said: str) -> None:
    with pytest.raises(kedge.InvalidValue, match=said):
        k.set_retention(**given)
    assert k.retention() == ()
    with pytest.raises(kedge.UnknownName, match="no retention policy is set for the store 'context'"):
        k.drop_retention(store="context")


# ── no view answers otherwise ──


def every_answer(k: kedge.Kedge, points: list[Any], *, present: bool) -> list[Any]:
    """Return what all readable views show: of each session and deployment, and at each point."""
    views: list[kedge.ReadView] = [k.at(point) for point in points]
    if present:
        standing = [d.name for d in k.deployments() if str(d.status) in {"staged", "canary", "live"}]
        views += [k.view(), *(k.view(session=s) for s in ("s1", "s2")), *(k.view(deployment=n) for n in standing)]
    return [
        [(e.key, e.value, e.seq, sorted(e.lineage)) for e in view.context.entries()]
        + [[(h.id, h.payload) for h in view.vectors("kb").search([1.0, 0.0], 9, exact=True)]]
        for view in views
    ]


def act(k: kedge.Kedge, dice: random.Random, step: int) -> None:
    """Change something at random."""
    standing = {d.name: str(d.status) for d in k.deployments()}
    name, chance = dice.choice(NAMES), dice.random()
    status = standing.get(name)
    if status is None and chance < 0.2:
        k.deploy(name, {f"{dice.choice(['clerk', 'support'])}/prompt": name}, canary=0.5)
    elif chance < 0.3:
        change(k, dice, name, status)
    else:
        write(k, dice, step, name if status in {"staged", "canary", "live"} and dice.random() < 0.4 else None)


def change(k: kedge.Kedge, dice: random.Random, name: str, status: str | None) -> None:
    """Move a deployment to another status at random, where that is legal."""
    moves: dict[str, list[Callable[[str], Any]]] = {
        "canary": [k.promote, k.rollback],
        "live": [k.rollback, k.settle],
        "rolled back": [k.reinstate] * 3,
    }
    with suppress(kedge.IllegalTransition, kedge.SnapshotInTheWay):
        if status == "rolled back" and dice.random() < 0.2:
            k.purge(name, confirm=name)
        elif status in moves:
            dice.choice(moves[status])(name)


def write(k: kedge.Kedge, dice: random.Random, step: int, inside: str | None) -> None:
    """Write to a key at random, perhaps after reading all."""
    session = None if inside else dice.choice(["s1", "s2", None])
    with k.turn(agent=dice.choice(["clerk", "support"]), session=session, deployment=inside) as turn:
        if dice.random() < 0.5:
            turn.context.items()
        key = dice.choice(KEYS)
        if dice.random() < 0.2:
            turn.context.delete(key)
        else:
            turn.context.put(key, step)
        turn.vectors("kb").upsert([key], np.array([[1.0, step]], np.float32), [step])


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(200 if SOAKING else 2))
def test_no_view_answers_otherwise(k: kedge.Kedge, clock: Clock, seed: int) -> None:
    dice = random.Random(seed)
    k.collection("kb", dim=2, metric="l2")
    k.set_retention(60, store="context")
    k.set_retention(60, store="vectors")
    times: list[tuple[float, int]] = []
    reclaimed = 0
    for step in range(150 if SOAKING else 90):
        clock.ahead += dice.uniform(0, 10)
        act(k, dice, step)
        if dice.random() < 0.05:
            k.snapshot(f"at {step}")
        times.append((clock.now(), k.status().seq))
        if step % 15 == 14:
            recent = [seq for at, seq in times if at > clock.now() - 50]
            points: list[Any] = [*recent, *(s.name for s in k.snapshots())]
            readable = []
            for point in points:
                with suppress(kedge.PastUnreadable):  # a purge took it
                    every_answer(k, [point], present=False)
                    readable.append(point)
            before = every_answer(k, readable, present=True)
            reclaimed += k.reclaim().rows
            assert every_answer(k, readable, present=True) == before
            assert k.fsck(full=True).findings == ()
    for name in NAMES:
        with suppress(kedge.IllegalTransition, kedge.UnknownName):
            k.reinstate(name)
            every_answer(k, [], present=True)
    assert reclaimed > 10


def test_a_stopped_pass_goes_on_where_it_ended(k: kedge.Kedge, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        put(k, str(number), KEYS[number % 3])
    k.set_retention(DAY, store="context")
    clock.ahead += 2 * DAY
    put(k, "end", "d")
    monkeypatch.setattr(retention, "_ERASED_AT_ONCE", 1)
    monkeypatch.setattr(retention, "_PART_SEQS", 4)
    port = k._kernel.backend.reclamation
    erase, left = port.erase, [3]

    def stop(seqs: list[int], epoch: int) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return erase(seqs, epoch)

    monkeypatch.setattr(port, "erase", stop)
    before = k.view().context.items()
    with pytest.raises(KeyboardInterrupt):
        k.reclaim()
    monkeypatch.undo()
    assert k.fsck(full=True).findings == ()
    assert k.reclaim().rows == 9 - 3
    assert k.view().context.items() == before
    assert k.fsck(full=True).findings == ()


def test_a_hold_that_is_set_during_a_pass_ends_it(
    k: kedge.Kedge, clock: Clock, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        put(k, str(number))
    k.set_retention(DAY, store="context")
    clock.ahead += 2 * DAY
    put(k, "end", "d")
    port = k._kernel.backend.reclamation
    versions = port.versions

    def hold_first(*asked: Any) -> Any:
        found = versions(*asked)
        monkeypatch.undo()
        k.set_retention(store="context", hold=True)
        return found

    monkeypatch.setattr(port, "versions", hold_first)
    assert k.reclaim().rows == 0
    assert contents(place) == 5
