"""Unfinished operations: looked up in a table that is kept with the log, and always what the log says."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

import kedge
from kedge.model import unfinished
from kedge.model.unfinished import Unfinished
from tests.databases import alter

POSTGRES_ONE_IN = 3


class System:
    """An external system that follows artifacts, unless it is down."""

    artifacts = "support/*"
    deadline_seconds = 0.1

    def __init__(self) -> None:
        self.pins: dict[str, str] = {}
        self.is_down = False

    def observe(self, key: str, _deadline: float) -> str | None:
        if self.is_down:
            raise OSError("down")
        return self.pins.get(key)

    def converge(self, key: str, pin: kedge.Artifact, _deadline: float) -> None:
        self.pins[key] = pin.digest


@pytest.fixture
def system() -> System:
    return System()


@pytest.fixture
def k(place: str, system: System) -> Iterator[kedge.Kedge]:
    with kedge.open(place, durability="normal", reconcilers={"system": system}) as opened:
        yield opened


def named(k: kedge.Kedge) -> list[tuple[str, str]]:
    return [(one.kind, one.deployment) for one in k.status().unfinished]


def test_a_look_for_them_does_not_read_the_log(k: kedge.Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    k.deploy("v1", {"other/prompt": "x"}, canary=1.0)
    k.rollback("v1", verify=False)
    control = k._kernel.backend.control
    entries = control.entries
    monkeypatch.setattr(control, "entries", lambda *, operation: entries(operation=operation))
    assert named(k) == [("rollback", "v1")]
    assert k.recover()
    assert named(k) == []
    assert k.recover() == []


def test_what_a_later_change_moves_need_not_follow_the_earlier(k: kedge.Kedge, system: System) -> None:
    system.is_down = True
    k.deploy("v1", {"support/prompt": "1", "support/model": "1"})
    k.promote("v1")
    k.deploy("v2", {"support/prompt": "2"})
    k.promote("v2")
    assert named(k) == [("promote", "v1"), ("promote", "v2")], "of v1, the model is left"
    k.deploy("v3", {"support/model": "3"})
    k.promote("v3")
    assert named(k) == [("promote", "v2"), ("promote", "v3")]
    assert k.fsck(full=True).findings == ()
    system.is_down = False
    assert len(k.recover()) == 2
    assert named(k) == []
    assert k.fsck(full=True).findings == ()


def test_a_database_that_older_processes_write_to_is_read_by_its_log(k: kedge.Kedge, place: str) -> None:
    k.deploy("v1", {"other/prompt": "x"}, canary=1.0)
    k.rollback("v1", verify=False)
    k.deploy("v2", {"other/prompt": "y"}, canary=1.0)
    k.rollback("v2")
    expected = named(k)
    alter(place, "UPDATE meta SET value = " + ("3" if "sqlite" in place else "'\\x33'") + " WHERE name = 'min_writer'")
    alter(place, "DELETE FROM unfinished")
    assert named(k) == expected == [("rollback", "v1")]
    k.upgrade()
    assert named(k) == expected
    assert k.fsck(full=True).findings == ()


def test_fsck_finds_a_table_that_is_not_what_the_log_says(k: kedge.Kedge, place: str) -> None:
    k.deploy("v1", {"other/prompt": "x"}, canary=1.0)
    k.rollback("v1", verify=False)
    alter(place, "DELETE FROM unfinished")
    assert [finding.kind for finding in k.fsck(full=True).findings] == ["unfinished"]


class Logged:
    """An entry of a random log."""

    def __init__(self, operation: str, kind: str, wanted: dict[str, list[str]]) -> None:
        self.operation, self.kind = operation, kind
        self.detail: dict[str, Any] = {"reconciles": wanted} if wanted else {}


@pytest.mark.parametrize("seed", range(20))
def test_it_is_what_a_walk_through_the_whole_log_finds(seed: int) -> None:
    dice, log = random.Random(seed), list[tuple[int, bool, Logged]]()
    kinds = ("promote", "rollback", "purge", "settle")
    for seq in range(60):
        operation = f"o{dice.randrange(12)}"
        before = next((entry for _, is_step, entry in log if entry.operation == operation and not is_step), None)
        if before is None:
            pairs = {"a": ["x", "y"], "b": ["x"]}
            wanted = {name: dice.sample(keys, dice.randint(1, len(keys))) for name, keys in pairs.items()}
            chosen = {name: keys for name, keys in wanted.items() if dice.random() < 0.4}
            log.append((seq, False, Logged(operation, dice.choice(kinds), chosen)))
        else:
            ends = [f"{before.kind}:reconciled", unfinished.FINISHED, unfinished.ERASED, "rollback:converged"]
            step = dice.choice(ends)
            if step == f"{before.kind}:reconciled" or step.startswith(before.kind):
                log.append((seq, True, Logged(operation, step, {})))
    assert unfinished.of_log(log) == by_brute_force(log)


def by_brute_force(log: list[tuple[int, bool, Logged]]) -> list[Unfinished]:
    """Walk from the newest change to the oldest; only the newest change of an artifact is to be followed."""
    last = {"rollback": {unfinished.FINISHED}, "purge": {unfinished.ERASED}}
    steps = {(entry.operation, entry.kind) for _, is_step, entry in log if is_step}
    found, later = list[Unfinished](), set[tuple[str, str]]()
    for seq, is_step, entry in reversed(log):
        if is_step:
            continue
        wanted = entry.detail.get("reconciles", {})
        own = {name: [key for key in keys if (name, key) not in later] for name, keys in wanted.items()}
        own = {name: keys for name, keys in own.items() if keys}
        ends = last.get(entry.kind, {f"{entry.kind}:reconciled"})
        if (own or entry.kind in last) and not any((entry.operation, end) in steps for end in ends):
            found.append(Unfinished(entry.operation, entry.kind, seq, own))
        later |= {(name, key) for name, keys in wanted.items() for key in keys}
    return found[::-1]
