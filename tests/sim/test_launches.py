"""A launch keeps its laws on every seed, and with its pilot killed at every step; a seed is the same run each time."""

from __future__ import annotations

from collections import Counter

import pytest

from kedge.testing.sim.launch_play import KillAt, play_launch
from tests.stateful.share import SOAKING

SEEDS = 2_000 if SOAKING else 40
CHUNK = 20
KILLED_SEEDS = (100, 101)


@pytest.mark.soak
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_no_seed_breaks_a_law(first: int) -> None:
    found = [play_launch(seed) for seed in range(first, first + CHUNK)]
    broken = {outcome.seed: outcome.violation for outcome in found if outcome.violation is not None}
    assert broken == {}, "python -m kedge.testing.sim --launch SEED tells the history"
    ends = Counter((outcome.is_bad, outcome.phase) for outcome in found)
    assert ends[True, "rolled back"] >= 1
    assert ends[False, "finished"] >= 1
    assert sum(outcome.effects for outcome in found) > 50 * CHUNK


def test_faults_happen() -> None:
    runs = [play_launch(seed) for seed in range(40)]
    told = Counter(what for run in runs for _, _, what, *_ in run.trace)
    for what in ("pause", "cut", "kill", "acquire", "advance", "act", "enter", "ask"):
        assert told[what] > 10, f"{what}: {told[what]}"
    kinds = Counter(action for run in runs for action in run.actions)
    for kind in ("canary", "promote", "tighten", "roll_back"):
        assert kinds[kind], f"{kind}: {kinds}"


def test_a_seed_is_the_same_run_each_time() -> None:
    assert play_launch(7) == play_launch(7)
    assert play_launch(7).digest != play_launch(8).digest


@pytest.mark.soak
@pytest.mark.parametrize("after", [False, True], ids=["before-the-call", "after-the-answer"])
@pytest.mark.parametrize("seed", KILLED_SEEDS)
def test_a_pilot_killed_at_any_call_leaves_what_the_next_one_finishes(seed: int, after: bool) -> None:
    calm = KillAt(0)
    whole = play_launch(seed, kill=calm)
    assert whole.violation is None
    kinds = Counter(whole.actions)
    assert calm.calls > 20
    step = 1 if SOAKING else 17
    for call in range(1 + seed % step, calm.calls - 20, step):
        kill = KillAt(call, after=after)
        found = play_launch(seed, kill=kill)
        assert found.violation is None, f"killed at call {call}"
        assert kill.calls > call, "another pilot has gone on"
        assert found.phase == whole.phase
        ended = {kind: Counter(found.actions)[kind] for kind in ("snapshot", "promote", "roll_back")}
        assert ended == {kind: kinds[kind] for kind in ended}, f"killed at call {call}"
