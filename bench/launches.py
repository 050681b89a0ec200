"""Simulated launches: streams of sessions, and the tests of `kedge.guard` on arrays."""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from kedge.guard import LatencySettings
from kedge.guard.difference import STEEPEST
from kedge.guard.latency import LatencyTest

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Launches(msgspec.Struct, frozen=True):
    """Launches of equal length: the share of each session, and whose it is, as (launches, sessions)."""

    share: Floats
    canary: Bools


def launches(rng: np.random.Generator, count: int, share: Floats) -> Launches:
    """Return launches whose sessions are assigned at random."""
    return Launches(share, rng.random((count, len(share))) < share)


def log_mean(paths: Sequence[Floats]) -> Floats:
    """Return the logarithm of the mean of wealths."""
    mean: Floats = np.logaddexp.reduce(np.stack(paths), axis=0) - math.log(len(paths))
    return mean


def coin_path(ratios: Sequence[float], runs: Launches, hits: Bools) -> Floats:
    """Return the logarithm of the e-value of `FailureTest` after each session."""
    return log_mean([
        np.cumsum(hits * (runs.canary * math.log(ratio) - np.log1p((ratio - 1) * runs.share)), axis=1)
        for ratio in ratios
    ])  # fmt: skip


def score_path(fractions: Sequence[float], runs: Launches, scores: Floats, centre: Floats | None = None) -> Floats:
    """Return the logarithm of the e-value of `ScoreTest` after each session."""
    if centre is None:
        centre = (before(scores) + 0.5) / np.arange(1, scores.shape[1] + 1)
    payoff = np.where(runs.canary, (centre - scores) * (1 - runs.share), (scores - centre) * runs.share)
    gain = payoff / np.maximum((1 - centre) * (1 - runs.share), centre * runs.share)
    return log_mean([np.cumsum(np.log1p(fraction * gain), axis=1) for fraction in fractions])


def latency_path(settings: LatencySettings, runs: Launches, latencies: Floats) -> Floats:
    """Return the logarithm of the e-value of `LatencyTest` after each session."""
    scores, slow = np.full(latencies.shape, 0.5), np.zeros(latencies.shape, dtype=np.bool_)
    for now in range(LatencyTest.WARM_UP, latencies.shape[1]):
        recent, latency = latencies[:, max(0, now - settings.window) : now], latencies[:, now, None]
        below, not_above = (recent < latency).sum(axis=1), (recent <= latency).sum(axis=1)
        known = recent.shape[1]
        scores[:, now] = 1 - (below + not_above) / (2 * known)
        slow[:, now] = below >= settings.quantile * known
    ranks = score_path(settings.fractions, runs, scores, np.full(latencies.shape, 0.5))
    return log_mean([ranks, coin_path(settings.ratios, runs, slow)])


def cusum_path(log_factors: Sequence[Floats]) -> Floats:
    """Return the logarithm of the CUSUM statistic after each session, from the log factors of each bet."""
    count, sessions = log_factors[0].shape
    wealth, path = np.zeros((len(log_factors), count)), np.empty((count, sessions))
    by_session = np.stack(log_factors).transpose(2, 0, 1).copy()
    for now in range(sessions):
        moved = by_session[now] != 0
        wealth = np.where(moved, np.maximum(wealth, 0) + by_session[now], wealth)
        path[:, now] = np.logaddexp.reduce(wealth, axis=0)
    return path - math.log(len(log_factors))


def first(reached: Bools) -> Floats:
    """Return the number of sessions until a launch reaches its limit; one more than all where it never does."""
    never = reached.shape[1] + 1
    found: Floats = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, never).astype(np.float64)
    return found


def upper_bound(hits: int, trials: int, confidence: float = 0.95) -> float:
    """Return the upper confidence bound of a probability (Clopper and Pearson 1934)."""
    if hits >= trials:
        return 1.0
    low, high = hits / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(hits, trials, middle) > 1 - confidence else (low, middle)
    return high


def _at_most(hits: int, trials: int, p: float) -> float:
    """Return the probability of at most so many hits."""
    return math.fsum(
        math.exp(
            math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
            + k * math.log(p) + (trials - k) * math.log1p(-p)
        )
        for k in range(hits + 1)
    )  # fmt: skip


class Intervals(msgspec.Struct, frozen=True):
    """Bounds of a difference after each session, as (launches, sessions)."""

    low: Floats
    high: Floats


def difference_path(runs: Launches, scores: Floats, alpha: float = 0.05) -> Intervals:
    """Return the interval of `DifferenceSequence` after each session, for scores in [0, 1]."""
    share, scale = runs.share, runs.share * (1 - runs.share)
    count = np.arange(1, scores.shape[1] + 1)
    centre = (before(scores) + 0.5) / count
    payoff = np.where(runs.canary, (scores - centre) * (1 - share), (centre - scores) * share) / scale
    best = np.maximum(centre * (1 - share), (1 - centre) * share) / scale
    worst = np.maximum((1 - centre) * (1 - share), centre * share) / scale
    reach = best + worst
    deviation = (payoff - np.clip(before(payoff) / count, -best, worst)) ** 2
    variance = (before(deviation) + reach**2 / 4) / count
    log_2 = math.log(2 / alpha)
    slope = np.minimum(np.sqrt(2 * log_2 / (variance * count * np.log1p(count))), STEEPEST / reach)
    penalty = np.cumsum(deviation / reach**2 * (-np.log1p(-slope * reach) - slope * reach), axis=1)
    weight = np.cumsum(slope, axis=1)
    middle, half = np.cumsum(slope * payoff, axis=1) / weight, (log_2 + penalty) / weight
    return Intervals(np.maximum(-1.0, middle - half), np.minimum(1.0, middle + half))


def before(values: Floats) -> Floats:
    """Return the sum of all earlier values, at each session."""
    earlier: Floats = np.cumsum(values, axis=1) - values
    return earlier
