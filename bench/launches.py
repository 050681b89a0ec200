"""Simulated launches: streams of sessions, the tests of `kedge.guard` on arrays, and the rules that others use."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from kedge.guard import LatencySettings
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
        centre = (np.cumsum(scores, axis=1) - scores + 0.5) / np.arange(1, scores.shape[1] + 1)
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


# ---------------------------------------------------------------- what others do, on the same streams


def counts(runs: Launches, failed: Bools) -> tuple[Floats, ...]:
    """Return sessions and failures of the canary, sessions and failures of the baseline, after each session."""
    parts: list[Any] = [runs.canary, runs.canary & failed, ~runs.canary, ~runs.canary & failed]
    return tuple(np.cumsum(part, axis=1).astype(np.float64) for part in parts)


def peeked_z(runs: Launches, failed: Bools, *, least: int = 30) -> Bools:
    """Return where a one-sided z test of two proportions, looked at after each session, finds at 5%."""
    n_c, f_c, n_b, f_b = counts(runs, failed)
    enough = (n_c >= least) & (n_b >= least)
    pooled = (f_c + f_b) / (n_c + n_b)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (f_c / n_c - f_b / n_b) / np.sqrt(pooled * (1 - pooled) * (1 / n_c + 1 / n_b))
    return np.asarray(enough & (z > 1.6449))


def asymptotic(runs: Launches, failed: Bools, *, tuned: float = 5_000, alpha: float = 0.05, least: int = 30) -> Bools:
    """Return where a one-sided asymptotic confidence sequence (Waudby-Smith et al. 2021) excludes 0.

    It pools the sessions of each arm, as GrowthBook does, which keeps the share constant: a ramp breaks it.
    """
    n_c, f_c, n_b, f_b = counts(runs, failed)
    n = n_c + n_b
    with np.errstate(divide="ignore", invalid="ignore"):
        p, q = f_c / n_c, f_b / n_b
        variance = n * (p * (1 - p) / n_c + q * (1 - q) / n_b)
        rho2 = (-2 * math.log(2 * alpha) + math.log(1 - 2 * math.log(2 * alpha))) / tuned
        half = np.sqrt(variance * 2 * (n * rho2 + 1) / (n**2 * rho2) * np.log1p(np.sqrt(n * rho2 + 1) / (2 * alpha)))
    return np.asarray((n_c >= least) & (n_b >= least) & (p - q > half))


def five_strikes(runs: Launches, failed: Bools, *, limit: float = 0.075, every: int = 100, strikes: int = 5) -> Bools:
    """Return where the canary's rate of an interval was above a limit for the fifth time, without a baseline."""
    n_c, f_c, _, _ = counts(runs, failed)
    ends = np.arange(every - 1, failed.shape[1], every)
    sessions, failures = (np.diff(each[:, ends], axis=1, prepend=0) for each in (n_c, f_c))
    struck = np.cumsum(failures > limit * sessions, axis=1) >= strikes
    reached = np.zeros(failed.shape, dtype=np.bool_)
    reached[:, ends] = struck
    return reached
