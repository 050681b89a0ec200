"""False alarms and delays of the guard's tests in simulated launches, looked at after every session."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from bench.harness import Measured, Setting
from bench.launches import (
    Bools,
    Floats,
    Launches,
    asymptotic,
    coin_path,
    cusum_path,
    first,
    five_strikes,
    latency_path,
    launches,
    peeked_z,
    score_path,
    upper_bound,
)
from kedge.guard import FailureTest, HoldbackTest, LatencySettings, LatencyTest, ScoreTest, SloTest
from kedge.guard.settings import FRACTIONS, RATIOS

SESSIONS = 4_000  # of both arms
AFTER, CHANGE = 24_000, 6_000  # sessions after a promotion, and when it turns bad
ALPHA, MAIN = 0.05, 0.5  # the main one of eight metrics has half of alpha
LINE = 0.065  # of an SLO: the failure rate that is allowed
CHUNK = 100  # launches at once, so that arrays stay in the processor's cache
EVEN = np.full(SESSIONS, 0.5)
RAMP = np.repeat([0.05, 0.25, 0.5], [1_334, 1_333, 1_333])
FLAT = np.full(SESSIONS, 0.05)
DRIFT = np.linspace(0.02, 0.10, SESSIONS)

Rule = Callable[[Launches, Bools], Bools]
Stream = Callable[[np.random.Generator, int], tuple[Launches, Bools]]


def e_rule(alpha: float = ALPHA) -> Rule:
    """Return the rule of `FailureTest` at a level."""
    return lambda runs, failed: coin_path(RATIOS, runs, failed) >= -math.log(alpha)


RULES: dict[str, Rule] = {
    "FailureTest": e_rule(),
    "others: z test, looked at always": peeked_z,
    "GrowthBook: asymptotic sequence, tuned for 5,000": asymptotic,
    "Flagger: 5 intervals above 7.5%": five_strikes,
}


def guard(setting: Setting) -> Iterator[Measured]:
    """Measure false alarms, delays, and the agreement of this simulation with what is shipped."""
    count = setting.sizes.launches
    yield from agreement(min(count, 200))
    yield from failures(count)
    yield from eight(count)
    yield from scores(count)
    yield from latencies(count)
    yield from promoted(count)


def rates(share: Floats, baseline: Floats, canary: Floats) -> Stream:
    """Return a stream of sessions that fail at these rates."""

    def stream(rng: np.random.Generator, count: int) -> tuple[Launches, Bools]:
        runs = launches(rng, count, share)
        return runs, rng.random(runs.canary.shape) < np.where(runs.canary, canary, baseline)

    return stream


def by_user(
    rng: np.random.Generator, count: int, each: int = 5, rate: float = 0.05, alike: float = 0.3
) -> tuple[Launches, Bools]:
    """Return sessions of users, five each, whose outcomes resemble each other; only a user's first failure counts."""
    users = SESSIONS // each
    canary = np.tile(rng.random((count, users)) < 0.5, each)
    own = rng.beta(rate * (1 / alike - 1), (1 - rate) * (1 / alike - 1), (count, 1, users))
    failed = rng.random((count, each, users)) < own
    firsts = failed & (np.cumsum(failed, axis=1) == 1)
    return Launches(EVEN, canary), firsts.reshape(count, SESSIONS)


def failures(count: int) -> Iterator[Measured]:
    """Measure `FailureTest`, and beside it the rules of others on the same streams."""
    for name, stream in {
        "A/A at 5%, share 50%": rates(EVEN, FLAT, FLAT),
        "A/A, ramp 5, 25, 50%, drift 2 to 10%": rates(RAMP, DRIFT, DRIFT),
        "A/A, 5 sessions a user": by_user,
    }.items():
        for rule, stops in stopped(stream, count, RULES).items():
            yield false_alarms(f"{name}: {rule}", stops, SESSIONS, aimed=rule == "FailureTest")
    for bad, target in ((0.10, 380), (0.25, 50)):
        for rule, stops in stopped(rates(EVEN, FLAT, np.full(SESSIONS, bad)), count, RULES).items():
            yield delay(
                f"failures 5% to {bad:.0%}: {rule}", stops / 2, at_most=target if rule == "FailureTest" else None
            )


def eight(count: int) -> Iterator[Measured]:
    """Measure eight metrics with weights: half of alpha on the main one."""
    weights = [MAIN, *[(1 - MAIN) / 7] * 7]
    stops = [
        stopped(rates(EVEN, FLAT, FLAT), count, {"e": e_rule(ALPHA * weight)}, seed=number)["e"]
        for number, weight in enumerate(weights)
    ]
    yield false_alarms("A/A, any of 8 metrics, weighted", np.min(stops, axis=0), SESSIONS, aimed=True)
    found = stopped(rates(EVEN, FLAT, np.full(SESSIONS, 0.10)), count, {"e": e_rule(ALPHA * MAIN)})["e"]
    yield delay("failures 5% to 10%, main one of 8 metrics", found / 2, at_most=480)


def scores(count: int) -> Iterator[Measured]:
    """Measure `ScoreTest` on scores of mean 0.7 and deviation 0.2."""
    for by in (0.0, 0.05):
        stops = []
        for rng, size in chunks(count, 20):
            runs = launches(rng, size, EVEN)
            mean = np.where(runs.canary, 0.7 - by, 0.7)
            values = rng.beta(mean * 4.25, (1 - mean) * 4.25)
            stops.append(first(score_path(FRACTIONS, runs, values) >= -math.log(ALPHA)))
        yield judged(by == 0, f"score {-by:+.2f}" if by else "A/A, score: ScoreTest", np.concatenate(stops))


def latencies(count: int) -> Iterator[Measured]:
    """Measure `LatencyTest`: log-normal latencies, of which 5% take five times as long."""
    for name, by, slow in (
        ("A/A, latency: LatencyTest", 1.0, 0.05),
        ("latency × 1.3", 1.3, 0.05),
        ("slow tail 5% to 10%", 1.0, 0.10),
    ):
        stops = []
        for rng, size in chunks(count, 30):
            runs = launches(rng, size, EVEN)
            is_slow = rng.random(runs.canary.shape) < np.where(runs.canary, slow, 0.05)
            values = rng.lognormal(0, 0.5, runs.canary.shape) * np.where(runs.canary, by, 1) * np.where(is_slow, 5, 1)
            stops.append(first(latency_path(LatencySettings(), runs, values) >= -math.log(ALPHA)))
        yield judged(name.startswith("A/A"), name, np.concatenate(stops))


def promoted(count: int) -> Iterator[Measured]:
    """Measure `HoldbackTest` with 10% held back, and `SloTest` at a line of 6.5%; what turns bad does so at 6,000."""
    for name, old, new in (
        ("A/A at 5%", 0.05, 0.05),
        ("both from 5% to 8%", 0.08, 0.08),
        ("5% to 10%", 0.05, 0.10),
        ("5% to 20%", 0.05, 0.20),
    ):
        stops: dict[str, list[Floats]] = {"HoldbackTest": [], "SloTest": []}
        for rng, size in chunks(count, 40):
            runs = launches(rng, size, np.full(AFTER, 0.9))
            rate = np.where(np.arange(AFTER) < CHANGE, 0.05, np.where(runs.canary, new, old))
            failed = rng.random(runs.canary.shape) < rate
            held = [failed * (runs.canary * math.log(ratio) - np.log1p((ratio - 1) * 0.9)) for ratio in RATIOS]
            slo = [failed * math.log(ratio) - np.log1p((ratio - 1) * LINE) for ratio in RATIOS]
            stops["HoldbackTest"].append(first(cusum_path(held) >= math.log(HoldbackTest().settings.limit)))
            stops["SloTest"].append(first(cusum_path(slo) >= math.log(SloTest(LINE).settings.limit)))
        for test, found in stops.items():
            yield after_promotion(f"promoted, {name}: {test}", np.concatenate(found), harmless=old == new)


def after_promotion(name: str, stops: Floats, *, harmless: bool) -> Measured:
    """Return the row of false alarms, or that of the delay after the change."""
    if harmless:
        return false_alarms(name, stops, AFTER, aimed="both" not in name or "Holdback" in name)
    early, late = np.mean(stops <= CHANGE), stops[stops > CHANGE] - CHANGE
    return Measured(name, float(np.median(late)), "sessions", f"too early in {early:.3f} of the launches")


def stopped(stream: Stream, count: int, rules: dict[str, Rule], seed: int = 0) -> dict[str, Floats]:
    """Return after how many sessions each rule stops each launch."""
    found: dict[str, list[Floats]] = {rule: [] for rule in rules}
    for rng, size in chunks(count, seed):
        runs, failed = stream(rng, size)
        for rule, reaches in rules.items():
            found[rule].append(first(reaches(runs, failed)))
    return {rule: np.concatenate(stops) for rule, stops in found.items()}


def chunks(count: int, seed: int) -> Iterator[tuple[np.random.Generator, int]]:
    """Yield generators of fixed seeds, and how many launches each makes."""
    for start in range(0, count, CHUNK):
        yield np.random.default_rng([seed, start]), min(CHUNK, count - start)


def judged(harmless: bool, name: str, stops: Floats) -> Measured:
    """Return the row of false alarms, or that of the delay."""
    return false_alarms(name, stops, SESSIONS, aimed=True) if harmless else delay(name, stops / 2)


def false_alarms(name: str, stops: Floats, sessions: int, *, aimed: bool) -> Measured:
    """Return the upper 95% bound of the probability of a false alarm, in percent."""
    alarms = int(np.sum(stops <= sessions))
    detail = f"{alarms} of {len(stops):,} launches: {alarms / len(stops):.3f}"
    bound = 100 * upper_bound(alarms, len(stops))
    return Measured(f"{name}: false alarms, at most", bound, "%", detail, at_most=100 * ALPHA if aimed else None)


def delay(name: str, stops: Floats, at_most: float | None = None) -> Measured:
    """Return the median of the sessions an arm until a launch is stopped."""
    detail = f"90% within {np.quantile(stops, 0.9):,.0f}; found in {np.mean(stops <= SESSIONS / 2):.1%}"
    return Measured(name, float(np.median(stops)), "an arm", detail, at_most=at_most)


def agreement(streams: int, sessions: int = 500) -> Iterator[Measured]:
    """Compare the logarithms of the e-values of this simulation with those of the shipped tests."""
    rng = np.random.default_rng(7)
    runs = launches(rng, streams, np.linspace(0.05, 0.5, sessions))
    values = np.round(rng.lognormal(0, 0.5, runs.canary.shape), 2)  # with ties
    failed, score = values > 2, np.minimum(values, 3) / 3
    holdback = [failed * (runs.canary * math.log(r) - np.log1p((r - 1) * runs.share)) for r in RATIOS]
    for kind, given, path in (
        (FailureTest, ~failed, coin_path(RATIOS, runs, failed)),
        (ScoreTest, score, score_path(FRACTIONS, runs, score)),
        (LatencyTest, values, latency_path(LatencySettings(), runs, values)),
        (HoldbackTest, ~failed, cusum_path(holdback)),
    ):
        largest = 0.0
        for row in range(streams):
            test = kind()
            for now in range(sessions):
                test.observe("canary" if runs.canary[row, now] else "baseline", given[row, now], runs.share[now])
                largest = max(largest, abs(test.log_e - float(path[row, now])))
        yield Measured(
            f"{kind.__name__}: simulation and observe() on {streams} streams", largest, "of log e", at_most=1e-9
        )
