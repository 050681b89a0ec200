"""E-values of the package `ville`, an independent implementation, on the streams of the guard's tests.

`ville` has no test of two arms with a share that changes. It has the wealth of a bet on a bounded mean and the mean of
several, of which the guard's tests are made. So each bet is one `BettingTest` with a constant bet: a tiny alpha makes
its own choice of a bet larger than the cap `c`, which then is the bet.
"""

import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bench.harness import Measured
from bench.launches import Bools, Floats, launches
from kedge.guard import FailureTest, LatencySettings, ScoreTest
from kedge.guard.latency import LatencyTest
from kedge.guard.settings import FRACTIONS, RATIOS

TINY = 1e-300


def coin(ville: Any, ratios: Sequence[float], share: float, canary_of_failed: Bools) -> Floats:
    """Return the e-value of `FailureTest` after each failed session, at a constant share."""
    hits = canary_of_failed.astype(np.float64)
    return mean_of(ville, [
        constant_bet(ville, hits, share, (0.0, 1.0), (ratio - 1) * share / (1 + (ratio - 1) * share))
        for ratio in ratios
    ])  # fmt: skip


def score(ville: Any, fractions: Sequence[float], share: float, canary: Bools, scores: Floats) -> Floats:
    """Return the e-value of `ScoreTest` after each session, at a constant share."""
    centre = np.array([(scores[:now].sum() + 0.5) / (now + 1) for now in range(len(scores))])
    return bets_on_scores(ville, fractions, share, canary, scores, centre)


def latency(ville: Any, settings: LatencySettings, share: float, canary: Bools, latencies: Floats) -> Floats:
    """Return the e-value of `LatencyTest` after each session, at a constant share."""
    known = range(LatencyTest.WARM_UP, len(latencies))
    ranks, slow = np.full(len(latencies), 0.5), np.zeros(len(latencies), dtype=np.bool_)
    for now in known:
        recent = latencies[max(0, now - settings.window) : now]
        ranks[now] = 1 - np.mean((recent < latencies[now]) + (recent == latencies[now]) / 2)
        slow[now] = np.mean(recent < latencies[now]) >= settings.quantile
    middle = bets_on_scores(ville, settings.fractions, share, canary, ranks, np.full(len(latencies), 0.5))
    jumps = np.concatenate([[1.0], coin(ville, settings.ratios, share, canary[slow])])
    return mean_of(ville, [middle, jumps[np.cumsum(slow)]])


def bets_on_scores(
    ville: Any, fractions: Sequence[float], share: float, canary: Bools, scores: Floats, centre: Floats
) -> Floats:
    """Return the mean wealth of bets on weighted payoffs, given as parts of the worst."""
    payoff = np.where(canary, (centre - scores) / share, (scores - centre) / (1 - share))
    gain = payoff / np.maximum((1 - centre) / share, centre / (1 - share))
    most = max(1.0, float(gain.max()))
    return mean_of(ville, [constant_bet(ville, gain, 0.0, (-1.0, most), fraction) for fraction in fractions])


def constant_bet(ville: Any, values: Floats, mean: float, bounds: tuple[float, float], most_lost: float) -> Floats:
    """Return the wealth of one bet that loses a constant part of itself at worst."""
    wealth: Floats = (
        ville.BettingTest(mean, bounds, alternative="greater", alpha=TINY, c=most_lost).fit(values).e_values_
    )
    return wealth


def mean_of(ville: Any, wealths: list[Floats]) -> Floats:
    """Return the mean of e-values."""
    found: Floats = ville.evalues.combine(np.stack(wealths), axis=0)
    return found


def compared(streams: int, sessions: int = 400) -> Iterator[Measured]:
    """Compare the e-values of the shipped tests with those of `ville`; nothing where it is not installed."""
    if importlib.util.find_spec("ville") is None:
        return
    ville = importlib.import_module("ville")  # a developers' dependency, which `make bench` does without
    largest: dict[str, float] = {}
    rng = np.random.default_rng(11)
    for number in range(streams):
        share = (0.5, 0.3, 0.05)[number % 3]
        runs = launches(rng, 1, np.full(sessions, share))
        canary = runs.canary[0]
        values = np.round(rng.lognormal(0, 0.5, sessions) * np.where(canary, 1.2, 1.0), 2)  # with ties
        failed, scores = values > 1.5, np.minimum(values, 3) / 3
        expected = (
            ("FailureTest", path(FailureTest("failure"), canary, failed, share)[failed],
             coin(ville, RATIOS, share, canary[failed])),
            ("ScoreTest", path(ScoreTest(), canary, scores, share), score(ville, FRACTIONS, share, canary, scores)),
            ("LatencyTest", path(LatencyTest(), canary, values, share),
             latency(ville, LatencySettings(), share, canary, values)),
        )  # fmt: skip
        for name, shipped, independent in expected:
            largest[name] = max(largest.get(name, 0.0), float(np.max(np.abs(np.log(shipped) - np.log(independent)))))
    for name, off in largest.items():
        yield Measured(f"{name}: observe() and ville on {streams} streams", off, "of log e", at_most=1e-9)


def path(test: Any, canary: Bools, values: Any, share: float) -> Floats:
    """Return the e-values of a shipped test after each session."""
    return np.array([
        test.observe("canary" if own else "baseline", value, share)
        for own, value in zip(canary.tolist(), values.tolist(), strict=True)
    ])  # fmt: skip
