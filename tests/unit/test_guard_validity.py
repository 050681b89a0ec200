"""No test of the guard gains from a harmless canary: exactly, over all outcomes of short streams, and by simulation."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from bench.guard import DRIFT, EVEN, FLAT, RAMP, RULES, agreement, by_user, rates, stopped
from bench.launches import latency_path, launches, score_path, upper_bound
from kedge.guard import FailureTest, HoldbackTest, LatencyTest, ScoreTest, SloTest
from kedge.guard.bets import coin
from kedge.guard.sessions import Arm
from kedge.guard.settings import FRACTIONS, RATIOS, LatencySettings

SHARES = (0.05, 0.5, 0.25, 0.9)  # one a session
ARMS: tuple[Arm, Arm] = ("canary", "baseline")
Law = dict[Any, float]  # value -> probability


class EarlyLatencyTest(LatencyTest):
    """Bets from the third latency on, so that short streams hold bets."""

    WARM_UP = 2


def expectation(make: Callable[[], Any], laws: list[dict[Arm, Law]], shares: tuple[float, ...]) -> float:
    """Return the expected e-value after a stream, over every assignment and every value."""
    total = []
    steps = [
        [
            (arm, value, (share if arm == "canary" else 1 - share) * chance)
            for arm in ARMS
            for value, chance in law[arm].items()
        ]
        for law, share in zip(laws, shares, strict=False)
    ]
    for path in itertools.product(*steps):
        test = make()
        for (arm, value, _), share in zip(path, shares, strict=False):
            test.observe(arm, value, share)
        total.append(test.e * math.prod(chance for _, _, chance in path))
    return math.fsum(total)


def fails(rate: float) -> Law:
    return {False: rate, True: 1 - rate}


def alike(*laws: Law) -> list[dict[Arm, Law]]:
    return [{"canary": law, "baseline": law} for law in laws]


EQUAL = alike(*map(fails, (0.02, 0.5, 0.1, 0.3)))  # the rate drifts
BETTER: list[dict[Arm, Law]] = [
    {"canary": fails(a), "baseline": fails(b)} for a, b in ((0.1, 0.2), (0.5, 0.5), (0, 0.1), (0.3, 0.9))
]
WORSE: list[dict[Arm, Law]] = [{"canary": fails(0.6), "baseline": fails(0.2)}] * 4
THREE: Law = {0.0: 0.2, 0.6: 0.3, 1.0: 0.5}
LOWER: Law = {0.0: 0.5, 0.6: 0.3, 1.0: 0.2}
MEAN_68: Law = {0.68: 1.0}  # the mean of THREE, another shape


@pytest.mark.parametrize("laws", [EQUAL, alike(*[fails(1.0)] * 4), alike(*[fails(0.0)] * 4)])
def test_equal_failure_rates_give_an_expectation_of_exactly_one(laws: list[dict[Arm, Law]]) -> None:
    assert expectation(FailureTest, laws, SHARES) == pytest.approx(1, abs=1e-12)


def test_a_better_canary_gives_less_than_one_and_a_worse_one_more() -> None:
    assert expectation(FailureTest, BETTER, SHARES) < 1
    assert expectation(FailureTest, WORSE, SHARES) > 1.1


@pytest.mark.parametrize("laws", [alike(THREE, LOWER, THREE), [{"canary": MEAN_68, "baseline": THREE}] * 3])
def test_equal_mean_scores_give_an_expectation_of_exactly_one(laws: list[dict[Arm, Law]]) -> None:
    assert expectation(ScoreTest, laws, SHARES) == pytest.approx(1, abs=1e-12)


def test_higher_scores_give_less_than_one_and_lower_ones_more() -> None:
    assert expectation(ScoreTest, [{"canary": THREE, "baseline": LOWER}] * 3, SHARES) < 1
    assert expectation(ScoreTest, [{"canary": LOWER, "baseline": THREE}] * 3, (0.5,) * 3) > 1.05


def test_equal_latencies_give_an_expectation_of_exactly_one_ties_included() -> None:
    law: Law = {1.0: 0.5, 2.0: 0.3, 9.0: 0.2}
    assert expectation(EarlyLatencyTest, alike(*[law] * 4), SHARES) == pytest.approx(1, abs=1e-12)


def test_stochastically_smaller_latencies_give_less_than_one_and_larger_ones_more() -> None:
    fast, slow = {1.0: 0.6, 9.0: 0.4}, {1.0: 0.3, 9.0: 0.7}
    assert expectation(EarlyLatencyTest, [{"canary": fast, "baseline": slow}] * 4, SHARES) < 1
    assert expectation(EarlyLatencyTest, [{"canary": slow, "baseline": fast}] * 4, SHARES) > 1


def test_each_step_of_a_cusum_gains_at_most_what_a_restart_adds() -> None:
    """An e-detector: its expectation after n failed sessions is at most n; hence the mean time to an alarm."""
    for n in (1, 2, 3, 4):
        assert expectation(HoldbackTest, alike(*[fails(1.0)] * n), SHARES) <= n + 1e-12


def test_the_first_step_of_an_slo_at_its_line_gives_an_expectation_of_one() -> None:
    for line in (0.01, 0.065, 0.5):
        after = {value: SloTest(line) for value in (True, False)}
        for value, test in after.items():
            test.observe(value)
        assert line * after[False].e + (1 - line) * after[True].e == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5, 0.9])
def test_the_exact_probability_of_a_false_alarm_within_200_failures(share: float) -> None:
    """Exact: the e-value after n failures depends on how many were the canary's."""
    alive, alarms = np.ones(1), 0.0
    hit, miss = (np.array(coin(RATIOS, share, hit=hit)) for hit in (True, False))
    for failed in range(1, 201):
        alive = np.append(0, alive * share) + np.append(alive * (1 - share), 0)
        canary = np.arange(failed + 1)[:, None]
        reached = np.exp(canary * hit + (failed - canary) * miss).mean(axis=1) >= 20
        alarms += alive[reached].sum()
        alive[reached] = 0
    assert 0.02 < alarms <= 0.05


# ---------------------------------------------------------------- by simulation, looked at after every session

COUNT = 400


def test_the_simulation_of_the_benchmark_is_what_is_shipped() -> None:
    for line in agreement(3, sessions=150):
        assert line.value <= 1e-9, line.name


def alarms(stops: Any, sessions: int = 4_000) -> float:
    """Return the upper 99% bound of the probability of a false alarm."""
    return upper_bound(int(np.sum(stops <= sessions)), len(stops), 0.99)


@pytest.mark.parametrize(
    "stream", [rates(EVEN, FLAT, FLAT), rates(RAMP, DRIFT, DRIFT), by_user], ids=["even", "ramp", "users"]
)
def test_failures_alarm_rarely_in_a_harmless_launch(stream: Any) -> None:
    stops = stopped(stream, COUNT, {"e": RULES["FailureTest"], "z": RULES["others: z test, looked at always"]})
    assert np.mean(stops["e"] <= 4_000) <= 0.05
    assert alarms(stops["e"]) <= 0.07
    assert alarms(stops["z"]) > 0.2  # the streams are a trial: what is not anytime-valid fails them


@pytest.mark.parametrize(("bad", "least", "most"), [(0.10, 240, 400), (0.25, 35, 55)])
def test_failures_are_found_after_about_as_many_sessions_as_published(bad: float, least: float, most: float) -> None:
    stops = stopped(rates(EVEN, FLAT, np.full(len(EVEN), bad)), COUNT, {"e": RULES["FailureTest"]})["e"]
    assert least <= np.median(stops) / 2 <= most


def paths(by: float) -> Iterator[tuple[str, Any]]:
    """Yield the paths of a score and of latencies in 200 launches of 1,500 sessions."""
    rng = np.random.default_rng(5)
    runs = launches(rng, 200, np.linspace(0.1, 0.5, 1_500))
    noise = rng.normal(0, 0.1, runs.canary.shape)
    drift = np.linspace(0, 0.2, 1_500)
    yield "score", score_path(FRACTIONS, runs, np.clip(0.5 + noise + drift - by * runs.canary, 0, 1))
    yield "latency", latency_path(LatencySettings(window=100), runs, np.exp(3 * (noise + drift + by * runs.canary)))


def test_scores_and_latencies_alarm_rarely_in_a_harmless_launch_that_drifts() -> None:
    for name, path in paths(0.0):
        assert np.mean(path.max(axis=1) >= math.log(20)) <= 0.05, name


def test_lower_scores_and_longer_latencies_are_found() -> None:
    for name, path in paths(0.05):
        assert np.mean(path.max(axis=1) >= math.log(20)) >= 0.9, name
