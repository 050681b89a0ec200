"""Delayed verdicts in simulated launches: the guard's rule at the deadline, and the rule of taking each as it comes."""

import numpy as np

from bench.launches import Bools, Floats, Launches, coin_path, first
from kedge.guard.settings import RATIOS


def delays(rng: np.random.Generator, runs: Launches, canary: float, baseline: float) -> Floats:
    """Return after how many further sessions each verdict arrives: exponential, with a mean of its own in each arm."""
    drawn: Floats = rng.exponential(1.0, runs.canary.shape) * np.where(runs.canary, canary, baseline)
    return drawn


def at_deadline(runs: Launches, failed: Bools, delay: Floats, deadline: int, log_limit: float) -> Floats:
    """Return when the guard's rule stops: sessions in order of assignment, each counted once its deadline has passed.

    A verdict that is missing then counts as a failure of the baseline, and as a success of the canary.
    """
    missing = delay > deadline
    counted = np.where(missing, ~runs.canary, failed)
    stops = first(coin_path(RATIOS, runs, counted) >= log_limit) + deadline
    found: Floats = np.minimum(stops, failed.shape[1] + 1)  # what is decided after the launch stops nothing
    return found


def as_they_come(runs: Launches, failed: Bools, delay: Floats, log_limit: float) -> Floats:
    """Return when a rule stops that counts each verdict as it arrives, and leaves out what has not."""
    arrival = np.arange(failed.shape[1]) + delay
    order = np.argsort(arrival, axis=1, kind="stable")
    arrived = np.take_along_axis(arrival, order, axis=1)
    sorted_runs = Launches(runs.share[order], np.take_along_axis(runs.canary, order, axis=1))
    path = coin_path(RATIOS, sorted_runs, np.take_along_axis(failed, order, axis=1))
    stop = first((path >= log_limit) & (arrived <= failed.shape[1])).astype(np.int64)
    last = failed.shape[1]
    when = np.ceil(np.take_along_axis(arrived, np.minimum(stop, last)[:, None] - 1, axis=1)[:, 0])
    found: Floats = np.where(stop <= last, when, last + 1.0)
    return found
