"""Reclaimed content elsewhere: moves, comparisons, diffs, exports and replays get it right or say what is gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kedge
from tests.contract import forward
from tests.contract.forward import DAY, Clock
from tests.contract.test_retention import contents, put
from tests.databases import NewPlace

clock, k = forward.clock, forward.k


def reclaim_all(k: kedge.Kedge, clock: Clock) -> int:
    """Reclaim all that may go once two days have passed."""
    clock.ahead += 2 * DAY
    put(k, "end", "c")
    return k.reclaim().rows


def test_a_moved_database_is_the_same(new_place: NewPlace) -> None:
    source, target, clock = new_place(), new_place(), Clock()
    with kedge.open(source, clock=clock, durability="normal") as k:
        first = put(k, "1")
        for value in "23":
            put(k, value)
        k.set_retention(DAY, store="context")
        k.set_retention(store="memory", hold=True)
        assert reclaim_all(k, clock) == 2
        policies = k.retention()
    kedge.migrate_store(source, target)
    assert kedge.compare_stores(source, target).same
    with kedge.open(target, durability="normal") as moved:
        assert moved.fsck(full=True).findings == ()
        assert moved.retention() == policies
        assert moved.view().context.get("a") == "3"
        with pytest.raises(kedge.PastUnreadable, match="reclaimed by a retention policy"):
            moved.at(first).context.get("a")
    assert contents(target) == 2


def test_a_diff_says_that_a_value_is_gone(k: kedge.Kedge, clock: Clock) -> None:
    first, second = put(k, "1"), put(k, "2")
    k.set_retention(DAY, store="context")
    assert reclaim_all(k, clock) == 1
    with pytest.raises(kedge.PastUnreadable, match=rf"'a' at seq {first} .*reclaimed"):
        k.diff(k.at(first), k.view())
    found = k.diff(k.at(second), k.view())
    assert [change.key for space in found.spaces for change in space.added] == ["c"]


def test_an_export_of_a_past_view_says_that_content_is_gone(k: kedge.Kedge, clock: Clock, tmp_path: Path) -> None:
    k.collection("kb", dim=2)
    seqs = []
    for number in (1, 2):
        with k.turn(agent="clerk") as turn:
            turn.vectors("kb").upsert(["x"], np.array([[1.0, number]], np.float32), [{"n": number}])
        seqs.append(k.seq)
    k.set_retention(DAY, store="vectors")
    assert reclaim_all(k, clock) == 1
    with pytest.raises(kedge.PastUnreadable, match=r"'x' at seq \d+ .*reclaimed"):
        k.export("kb", tmp_path / "past.npy", view=k.at(seqs[0]))
    assert not (tmp_path / "past.npy").exists()
    assert k.export("kb", tmp_path / "now.npy").rows == 1


def test_an_input_whose_content_is_gone_is_reported_as_failed(k: kedge.Kedge, clock: Clock) -> None:
    with k.turn(person="ann") as turn:
        turn.documents("kb").put("d", "first")
    k.deploy("v1", {"support/prompt": "x"}, canary=1.0)
    k.promote("v1")
    with k.turn(session="s", agent="support") as turn:
        turn.context.put("answer", turn.documents("kb").get("d"))
    with k.turn(person="ann") as turn:
        turn.documents("kb").put("d", "second")
    k.set_retention(DAY, store="documents")
    for snapshot in k.snapshots():
        k.release_snapshot(snapshot.name)
    assert reclaim_all(k, clock) == 1
    k.rollback("v1", verify=False)
    called: list[Any] = []
    report = k.replay(lambda _, item: called.append(item.value))
    assert called == []
    ((_, why),) = report.failed
    assert why.startswith("PastUnreadable: the input 'd' in documents 'kb' at seq ")
    assert why.endswith("a retention policy reclaimed its content; write it again if it should be answered")


@pytest.mark.parametrize(
    ("horizon", "policies", "left"),
    [
        (DAY, {}, 1),
        (None, {"vectors": DAY}, 1),
        (DAY, {"vectors": 9 * DAY}, 3),
        (9 * DAY, {"vectors": DAY}, 3),
        (DAY, {"vectors": None}, 3),
        (DAY, {"vectors": DAY, "hold": True}, 3),
        (None, {"context": DAY}, 3),
    ],
)
def test_vectors_follow_their_policy(
    k: kedge.Kedge, clock: Clock, horizon: float | None, policies: dict[str, Any], left: int
) -> None:
    k.collection("kb", dim=2)
    for number in range(3):
        with k.turn(agent="clerk") as turn:
            turn.vectors("kb").upsert(["x"], np.array([[1.0, number]], np.float32))
    k.set_retention(horizon)
    for store, age in policies.items():
        if store == "hold":
            k.set_retention(store="vectors", space="kb", hold=True)
        else:
            k.set_retention(age, store=store)
    clock.ahead += 2 * DAY
    put(k, "end", "c")
    assert k.optimize("kb")["kb"].reclaimed_rows == 3 - left
    assert k.view().vectors("kb").count() == 1
    assert k.fsck(full=True).findings == ()


def test_the_horizon_of_reads_keeps_content_that_a_policy_would_not(k: kedge.Kedge, clock: Clock) -> None:
    first = put(k, "1")
    put(k, "2")
    k.set_retention(9 * DAY)
    k.set_retention(DAY, store="context")
    assert reclaim_all(k, clock) == 0
    assert k.at(first).context.get("a") == "1"
    k.set_retention(None)
    assert k.reclaim().rows == 1
