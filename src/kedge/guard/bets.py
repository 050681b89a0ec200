"""Bets of a sequential test: a mixture of wealths in logarithms, updated by one observation.

Wealth that starts at 1 and is multiplied by factors whose conditional expectation is at most 1 is an e-process: under
the null hypothesis it reaches 1/α with probability at most α, at whichever moment one looks (Ville 1939; Ramdas,
Grünwald, Vovk and Shafer 2023, "Game-theoretic statistics and safe anytime-valid inference"). So is a mean of several.
"""

import math
import sys
from collections.abc import Sequence

LOG_LARGEST = math.log(sys.float_info.max)


def log_mean(log_wealth: Sequence[float]) -> float:
    """Return the logarithm of the mean of wealths that are given by their logarithms."""
    top = max(log_wealth)
    return top + math.log(math.fsum(math.exp(each - top) for each in log_wealth) / len(log_wealth))


def plain(log_e: float) -> float:
    """Return the e-value of a logarithm; one beyond the largest float becomes the largest float."""
    return sys.float_info.max if log_e >= LOG_LARGEST else math.exp(log_e)


def coin(ratios: Sequence[float], share: float, *, hit: bool) -> list[float]:
    """Return the log factors of bets that a coin hits more often than with probability `share`, one a ratio of odds.

    The factor is the likelihood ratio of the odds `ratio · share / (1 - share)` to those of the share. Its expectation
    is 1 if the coin hits with probability `share`, and below 1 if it hits less often, as every ratio is above 1.
    """
    return [(math.log(ratio) if hit else 0.0) - math.log1p((ratio - 1.0) * share) for ratio in ratios]


def stake(fractions: Sequence[float], payoff: float, worst: float) -> list[float]:
    """Return the log factors of bets on a payoff of expectation ≤ 0 and of at least `-worst`, one for each fraction.

    A fraction is the part of the wealth that the worst payoff loses.
    """
    gain = payoff / worst
    return [math.log1p(fraction * gain) for fraction in fractions]


def shortfall(value: float, centre: float, share: float, *, canary: bool) -> tuple[float, float]:
    """Return the weighted payoff of one score in [0, 1], and the most that it can lose.

    With the centre m, the payoff is (m - x)/share in the canary and -(m - x)/(1 - share) in the baseline. Its
    expectation over the assignment is mean(baseline) - mean(canary), whatever m is, so long as m is chosen beforehand.
    Both results are multiplied by share · (1 - share), which the ratio of the two does not show.
    """
    rest = 1.0 - share
    payoff = (centre - value) * rest if canary else (value - centre) * share
    return payoff, max((1.0 - centre) * rest, centre * share)
