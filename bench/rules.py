"""The rules of other tools on simulated launches: when each of them stops a canary. Higher values are worse."""

import math
from typing import Any

import msgspec
import numpy as np

from bench.launches import Bools, Floats, Launches

STRIKES = 5


class Arms(msgspec.Struct, frozen=True):
    """Sessions and mean value of the canary and of the baseline after each session, and the mean square of both."""

    canary: Floats
    canary_mean: Floats
    baseline: Floats
    baseline_mean: Floats
    canary_square: Floats
    baseline_square: Floats


def arms(runs: Launches, values: Floats | Bools) -> Arms:
    """Return what the rules below compare."""
    worth: Any = np.asarray(values, dtype=np.float64)
    parts = [runs.canary, runs.canary * worth, ~runs.canary, ~runs.canary * worth]
    n_c, sum_c, n_b, sum_b = (np.cumsum(part, axis=1, dtype=np.float64) for part in parts)
    square_c, square_b = (np.cumsum(arm * worth**2, axis=1) for arm in (runs.canary, ~runs.canary))
    with np.errstate(divide="ignore", invalid="ignore"):
        return Arms(n_c, sum_c / n_c, n_b, sum_b / n_b, square_c / n_c, square_b / n_b)


def peeked_z(runs: Launches, values: Floats | Bools, *, least: int = 30) -> Bools:
    """Return where a one-sided z test of two means, looked at after each session, finds at 5%."""
    of = arms(runs, values)
    n = of.canary + of.baseline
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (of.canary * of.canary_mean + of.baseline * of.baseline_mean) / n
        pooled = (of.canary * of.canary_square + of.baseline * of.baseline_square) / n - mean**2
        z = (of.canary_mean - of.baseline_mean) / np.sqrt(pooled * (1 / of.canary + 1 / of.baseline))
    return np.asarray((of.canary >= least) & (of.baseline >= least) & (z > 1.6449))


def asymptotic(
    runs: Launches, values: Floats | Bools, *, tuned: float = 5_000, alpha: float = 0.05, least: int = 30
) -> Bools:
    """Return where a one-sided asymptotic confidence sequence (Waudby-Smith et al. 2021) excludes 0.

    It pools the sessions of each arm, as GrowthBook does, which keeps the share constant: a ramp breaks it.
    """
    of = arms(runs, values)
    n = of.canary + of.baseline
    with np.errstate(divide="ignore", invalid="ignore"):
        variance_c, variance_b = of.canary_square - of.canary_mean**2, of.baseline_square - of.baseline_mean**2
        variance = n * (variance_c / of.canary + variance_b / of.baseline)
        rho2 = (-2 * math.log(2 * alpha) + math.log(1 - 2 * math.log(2 * alpha))) / tuned
        half = np.sqrt(variance * 2 * (n * rho2 + 1) / (n**2 * rho2) * np.log1p(np.sqrt(n * rho2 + 1) / (2 * alpha)))
    enough = (of.canary >= least) & (of.baseline >= least)
    return np.asarray(enough & (of.canary_mean - of.baseline_mean > half))


def five_strikes(
    runs: Launches, values: Floats | Bools, *, limit: float = 0.075, every: int = 100, in_a_row: bool = False
) -> Bools:
    """Return where the canary's mean of an interval was above a limit for the fifth time, without a baseline.

    Flagger counts all failed intervals of a launch; with `in_a_row` a good one sets the count back to 0.
    """
    worth = np.asarray(values, dtype=np.float64)
    ends = np.arange(every - 1, worth.shape[1], every)
    sums = (np.cumsum(runs.canary, axis=1)[:, ends], np.cumsum(runs.canary * worth, axis=1)[:, ends])
    sessions, totals = (np.diff(each, axis=1, prepend=0) for each in sums)
    strikes = np.cumsum(totals > limit * sessions, axis=1)
    if in_a_row:
        good = np.where(totals > limit * sessions, 0, strikes)
        strikes = strikes - np.maximum.accumulate(good, axis=1)
    return at_ends(worth.shape, ends, strikes >= STRIKES)


def mann_whitney(runs: Launches, values: Floats | Bools, *, every: int = 200, z: float = 2.3263) -> Bools:
    """Return where an interval's values were larger in the canary by a Mann-Whitney test, one-sided at 1%.

    Spinnaker's canary judge (Kayenta) tests each interval for itself, two-sided at 98%, with the normal approximation.
    """
    worth = np.asarray(values, dtype=np.float32)
    count, sessions = worth.shape
    ends = np.arange(every - 1, sessions, every)
    found = np.zeros((count, len(ends)), dtype=np.bool_)
    for number, end in enumerate(ends):
        block, canary = worth[:, end + 1 - every : end + 1], runs.canary[:, end + 1 - every : end + 1]
        found[:, number] = rank_score(block, canary) > z
    return at_ends(worth.shape, ends, found)


def rank_score(block: Any, canary: Bools) -> Floats:
    """Return the z score of the rank sum of the canary, with the correction for ties; 0 where nothing can be said."""
    ordered = np.sort(block, axis=1)
    ranks, squares = np.empty(block.shape), np.empty(len(block))
    for row, (values, own) in enumerate(zip(ordered, block, strict=True)):
        low, high = np.searchsorted(values, own, "left"), np.searchsorted(values, own, "right")
        ranks[row] = (low + high + 1) / 2
        squares[row] = np.sum((high - low).astype(np.float64) ** 2 - 1)  # of each value: the sum over ties of t³ - t
    n, a = block.shape[1], canary.sum(axis=1)
    b = n - a
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = np.sqrt(a * b / 12 * (n + 1 - squares / (n * (n - 1))))
        score = ((ranks * canary).sum(axis=1) - a * (n + 1) / 2) / deviation
    found: Floats = np.nan_to_num(score, nan=0.0, posinf=0.0, neginf=0.0)
    return found


def at_ends(shape: tuple[int, ...], ends: Any, found: Any) -> Bools:
    """Return where a rule stops that looks at the ends of intervals only."""
    reached = np.zeros(shape, dtype=np.bool_)
    reached[:, ends] = found
    return reached
