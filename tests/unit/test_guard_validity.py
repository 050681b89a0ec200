"""No test of the guard gains from a harmless canary: exactly, over all outcomes of short streams, and by simulation."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from bench import balances, oracle
from bench.delays import as_they_come, at_deadline, delays
from bench.guard import DEADLINE, DRIFT, EVEN, FLAT, RAMP, RULES, agreement, by_user, rates, stopped
from bench.launches import Launches, difference_path, first, latency_path, launches, score_path, upper_bound
from bench.rules import five_strikes, mann_whitney, rank_score
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
    for line in (*agreement(3, sessions=150), *balances.agreement(3, sessions=150)):
        assert line.value <= 1e-9, line.name


def test_the_e_values_are_those_of_an_independent_implementation() -> None:
    compared = list(oracle.compared(3, sessions=200))
    assert len(compared) == 3
    for line in compared:
        assert line.value <= 1e-9, line.name


def alarms(stops: Any, sessions: int = 4_000) -> float:
    """Return the upper 99% bound of the probability of a false alarm."""
    return upper_bound(int(np.sum(stops <= sessions)), len(stops), 0.99)


@pytest.mark.parametrize(
    ("stream", "sessions"),
    [(rates(EVEN, FLAT, FLAT), 4_000), (rates(RAMP, DRIFT, DRIFT), 6_800), (by_user, 4_000)],
    ids=["even", "ramp", "users"],
)
def test_failures_alarm_rarely_in_a_harmless_launch(stream: Any, sessions: int) -> None:
    stops = stopped(stream, COUNT, {"e": RULES["FailureTest"], "z": RULES["others: z test, looked at always"]})
    assert np.mean(stops["e"] <= sessions) <= 0.05
    assert alarms(stops["e"], sessions) <= 0.07
    assert alarms(stops["z"], sessions) > 0.2  # the streams are a trial: what is not anytime-valid fails them


@pytest.mark.parametrize(("canary", "baseline"), [(50, 400), (400, 50), (200, 200)])
def test_verdicts_that_come_late_and_unequally_do_not_alarm_at_the_deadline(canary: int, baseline: int) -> None:
    rng = np.random.default_rng(3)
    runs, failed = rates(EVEN, FLAT, FLAT)(rng, COUNT)
    wait = delays(rng, runs, canary, baseline)
    assert alarms(at_deadline(runs, failed, wait, DEADLINE, math.log(20))) <= 0.05
    if canary < baseline:
        assert alarms(as_they_come(runs, failed, wait, math.log(20))) > 0.3


def test_a_canary_that_is_worse_by_the_margin_is_rarely_proven_to_be_no_worse() -> None:
    runs, failed = rates(RAMP, DRIFT, DRIFT + 0.05)(np.random.default_rng(12), COUNT)
    stops = first(balances.margin_path(runs, (~failed).astype(np.float64), 0.05) >= math.log(20))
    assert np.mean(stops <= len(RAMP)) <= 0.05
    assert alarms(stops, len(RAMP)) <= 0.07


def test_equal_coverage_holds_rarely_and_unequal_coverage_soon() -> None:
    rng = np.random.default_rng(13)
    runs = launches(rng, 100, EVEN)
    for rate, least, most in ((0.05, 0.0, 0.03), (0.2, 0.95, 1.0)):
        missing = rng.random(runs.canary.shape) < np.where(runs.canary, rate, 0.05)
        held = (balances.balance_path(runs, missing) >= math.log(100)).any(axis=1).mean()
        assert least <= held <= most


def test_a_bad_canary_is_found_though_its_verdicts_come_late() -> None:
    rng = np.random.default_rng(4)
    runs, failed = rates(EVEN, FLAT, np.full(len(EVEN), 0.25))(rng, 100)
    stops = at_deadline(runs, failed, delays(rng, runs, 80, 80), DEADLINE, math.log(20))
    assert DEADLINE < np.median(stops) < DEADLINE + 400


def test_the_interval_of_the_difference_covers_it_at_all_times() -> None:
    runs, failed = rates(RAMP, np.full(len(RAMP), 0.05), np.full(len(RAMP), 0.10))(np.random.default_rng(6), 200)
    path = difference_path(runs, failed.astype(np.float64))
    assert ((path.low > 0.05) | (path.high < 0.05)).any(axis=1).mean() <= 0.05
    assert np.median(path.high[:, -1] - path.low[:, -1]) < 0.15


def test_the_rank_test_of_others_is_the_textbook_one() -> None:
    """Lehmann 1975: without ties the mean of the rank sum is a(n + 1)/2, and its variance ab(n + 1)/12."""
    block = np.array([[1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 2.0, 2.0]])
    canary = np.array([[False, False, True, True]] * 3)
    variance = 4 / 12 * 5
    with_ties = 4 / 12 * (5 - 12 / 12)
    assert rank_score(block, canary) == pytest.approx([2 / math.sqrt(variance), 0, 2 / math.sqrt(with_ties)])
    runs, failed = rates(EVEN, FLAT, np.full(len(EVEN), 0.9))(np.random.default_rng(8), 3)
    assert mann_whitney(runs, failed)[:, 199].all()


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


def test_the_strikes_of_others_are_counted_in_all_or_in_a_row() -> None:
    bad = np.repeat([1, 1, 1, 1, 0, 1, 1, 1, 1, 1], 100)[None, :]
    runs = Launches(np.full(1_000, 0.5), np.ones((1, 1_000), dtype=np.bool_))
    assert five_strikes(runs, bad).argmax() == 599
    assert five_strikes(runs, bad, in_a_row=True).argmax() == 999
