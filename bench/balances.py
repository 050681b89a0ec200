"""Tests of a launch's data, and of non-inferiority, in simulated launches: false holds, wrong promotions, delays."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.harness import Measured
from bench.launches import Bools, Floats, Launches, before, first, launches, log_mean, upper_bound
from kedge.guard.balance import BalanceTest
from kedge.guard.engine import SRM_LIMIT
from kedge.guard.measure import COVERAGE_LIMIT
from kedge.guard.noninferiority import NonInferiorityTest
from kedge.guard.settings import FRACTIONS, RATIOS

MARGIN = 0.05
SESSIONS = 4_000
CHUNK = 100


def balance_path(runs: Launches, counted: Bools) -> Floats:
    """Return the logarithm of the e-value of `BalanceTest` after each session; it takes those that are counted."""
    ratios = (*RATIOS, *(1 / ratio for ratio in RATIOS))
    return log_mean([
        np.cumsum(counted * (runs.canary * math.log(ratio) - np.log1p((ratio - 1) * runs.share)), axis=1)
        for ratio in ratios
    ])  # fmt: skip


def margin_path(runs: Launches, scores: Floats, margin: float = MARGIN) -> Floats:
    """Return the logarithm of the e-value of `NonInferiorityTest` after each session, for scores in [0, 1]."""
    share, rest = runs.share, 1 - runs.share
    centre = (before(scores) + 0.5) / np.arange(1, scores.shape[1] + 1)
    allowance = margin * share * rest
    loss = np.where(runs.canary, (centre - scores) * rest, (scores - centre) * share)
    gain = (allowance - loss) / (np.maximum(centre * rest, (1 - centre) * share) - allowance)
    return log_mean([np.cumsum(np.log1p(fraction * gain), axis=1) for fraction in FRACTIONS])


def balances(count: int, ramp: Floats, drift: Floats) -> Iterator[Measured]:
    """Measure the tests that hold a launch, and the one that promotes it."""
    yield from agreement(min(count, 200))
    yield from mismatches(count, ramp)
    yield from coverage(count)
    yield from margins(count, ramp, drift)


def mismatches(count: int, ramp: Floats) -> Iterator[Measured]:
    """Measure the test of a sample-ratio mismatch: all sessions are there, or a third of the canary's is not."""
    stops = [
        first(balance_path(runs, np.ones_like(runs.canary)) >= math.log(SRM_LIMIT))
        for rng, size in parts(count, 80)
        for runs in [launches(rng, size, ramp)]
    ]
    yield rate("assignment as weighted, with a ramp: false holds", np.concatenate(stops), len(ramp), at_most=0.5)
    found = []
    for rng, size in parts(count, 81):
        runs = launches(rng, size, np.full(SESSIONS, 0.5))
        there = ~(runs.canary & (rng.random(runs.canary.shape) < 1 / 3))
        found.append(first(balance_path(runs, there) >= math.log(SRM_LIMIT)))
    yield delay("a third of the canary's sessions lost, share 50%", np.concatenate(found), SESSIONS)


def coverage(count: int) -> Iterator[Measured]:
    """Measure the test of unequal coverage: the sessions whose verdict is missing."""
    for name, canary in (("5% missing in both: false holds", 0.05), ("5% and 15% missing", 0.15)):
        stops = []
        for rng, size in parts(count, 82):
            runs = launches(rng, size, np.full(SESSIONS, 0.5))
            missing = rng.random(runs.canary.shape) < np.where(runs.canary, canary, 0.05)
            stops.append(first(balance_path(runs, missing) >= math.log(COVERAGE_LIMIT)))
        ends = np.concatenate(stops)
        is_equal = canary == 0.05  # the rate of the baseline
        yield rate(name, ends, SESSIONS, at_most=1.5) if is_equal else delay(name, ends, SESSIONS)


def margins(count: int, ramp: Floats, drift: Floats) -> Iterator[Measured]:
    """Measure `NonInferiorityTest`: a canary worse by the margin is wrongly proven, one that is as good is proven."""
    even = np.full(SESSIONS, 0.5)
    for name, share, baseline, worse, margin in (
        ("worse by the margin of 5%: proven", even, np.full(SESSIONS, 0.05), MARGIN, MARGIN),
        ("worse by the margin of 5%, ramp and drift: proven", ramp, drift, MARGIN, MARGIN),
        ("as good, margin 5%: proven", even, np.full(SESSIONS, 0.05), 0.0, MARGIN),
        ("as good, margin 10%: proven", even, np.full(SESSIONS, 0.05), 0.0, 2 * MARGIN),
        ("5% to 7%, margin 5%: proven", even, np.full(SESSIONS, 0.05), 0.02, MARGIN),
    ):
        stops = []
        for rng, size in parts(count, 83):
            runs = launches(rng, size, share)
            failed = rng.random(runs.canary.shape) < np.where(runs.canary, baseline + worse, baseline)
            stops.append(first(margin_path(runs, (~failed).astype(np.float64), margin) >= math.log(20)))
        ends = np.concatenate(stops)
        yield rate(name, ends, len(share), at_most=5.0) if worse == margin else delay(name, ends, len(share))


def parts(count: int, seed: int) -> Iterator[tuple[np.random.Generator, int]]:
    """Yield generators of fixed seeds, and how many launches each makes."""
    for start in range(0, count, CHUNK):
        yield np.random.default_rng([seed, start]), min(CHUNK, count - start)


def rate(name: str, stops: Floats, sessions: int, *, at_most: float) -> Measured:
    """Return the upper 95% bound of a probability, in percent."""
    hits = int(np.sum(stops <= sessions))
    detail = f"{hits} of {len(stops):,} launches: {hits / len(stops):.4f}"
    return Measured(f"{name}, at most", 100 * upper_bound(hits, len(stops)), "%", detail, at_most=at_most)


def delay(name: str, stops: Floats, sessions: int) -> Measured:
    """Return the median of the sessions of both arms."""
    detail = f"90% within {np.quantile(stops, 0.9):,.0f}; within {sessions:,} in {np.mean(stops <= sessions):.1%}"
    return Measured(name, float(np.median(stops)), "sessions of both arms", detail)


def agreement(streams: int, sessions: int = 300) -> Iterator[Measured]:
    """Compare the logarithms of the e-values of this simulation with those of the shipped tests."""
    rng = np.random.default_rng(9)
    runs = launches(rng, streams, np.linspace(0.05, 0.5, sessions))
    scores = np.round(rng.random(runs.canary.shape), 2)
    everything = np.ones_like(runs.canary)
    balance, margin = balance_path(runs, everything), margin_path(runs, scores)
    largest = {"BalanceTest": 0.0, "NonInferiorityTest": 0.0}
    for row in range(streams):
        tests: tuple[Any, Any] = (BalanceTest(), NonInferiorityTest(MARGIN))
        for now, share in enumerate(runs.share):
            arm = "canary" if runs.canary[row, now] else "baseline"
            tests[0].observe(arm, share)
            tests[1].observe(arm, scores[row, now], share)
            for test, path in zip(tests, (balance, margin), strict=True):
                name = type(test).__name__
                largest[name] = max(largest[name], abs(test.log_e - float(path[row, now])))
    for name, off in largest.items():
        yield Measured(f"{name}: simulation and observe() on {streams} streams", off, "of log e", at_most=1e-9)
