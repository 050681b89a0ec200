"""The protocol holds on every seed; a seed is the same history each time; and its store keeps the laws of `Fleet`."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from kedge.ports.control import Change, Entry
from kedge.testing import contracts
from kedge.testing.sim import play
from kedge.testing.sim.store import SimStore
from tests.stateful.share import SOAKING

SEEDS = 10_000 if SOAKING else 300
CHUNK = 100


@pytest.mark.soak
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_no_seed_breaks_a_law(first: int) -> None:
    found = [play(seed) for seed in range(first, first + CHUNK)]
    broken = {outcome.seed: outcome.violation for outcome in found if outcome.violation is not None}
    assert broken == {}, "python -m kedge.testing.sim SEED tells the history"
    assert sum(outcome.flips for outcome in found) > 5 * CHUNK
    assert sum(outcome.served for outcome in found) > 20 * CHUNK
    assert sum(outcome.seen for outcome in found) > 20 * CHUNK


def test_faults_happen() -> None:
    told = Counter(what for seed in range(60) for _, _, what, *_ in play(seed).trace)
    for what in ("pause", "cut", "kill", "count_out", "converged", "refresh", "append", "head", "rate"):
        assert told[what] > 20, f"{what}: {told[what]}"


def test_a_seed_is_the_same_history_in_another_process() -> None:
    outcome = play(7)
    assert outcome == play(7)
    assert outcome.digest != play(8).digest
    code = "from kedge.testing.sim import play; print(play(7).digest)"
    environment = {**os.environ, "PYTHONPATH": "src", "PYTHONHASHSEED": "1"}
    root = Path(__file__).resolve().parents[2]
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, check=True, text=True, stdout=subprocess.PIPE
    )
    assert told.stdout.strip() == outcome.digest


# ── the store ──


class _Control:
    """The record of a `SimStore`, as far as the contract of `Fleet` needs it."""

    def __init__(self, store: SimStore) -> None:
        self.load, self._store = store.load, store

    def epoch(self) -> int:
        return self._store.record.epoch

    def commit(self, change: Change) -> Entry:
        flip = self._store.commit(change.record, change.operation, change.kind)
        return Entry(0, flip.epoch, 0.0, flip.operation, flip.kind, None, "", "", {}, is_step=False)


class _Names:
    def __init__(self) -> None:
        self._count = itertools.count()

    def fresh_id(self) -> str:
        return str(next(self._count))


class _Backend:
    def __init__(self) -> None:
        self.fleet = SimStore(0)
        self.control = _Control(self.fleet)
        self.clock = _Names()

    def close(self) -> None:
        """Do nothing."""


@pytest.fixture
def backend() -> _Backend:
    return _Backend()


@pytest.fixture
def opener(backend: _Backend) -> object:
    return lambda: backend


class TestFleet(contracts.FleetContract):
    pass
