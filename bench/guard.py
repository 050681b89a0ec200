"""False alarms and delays of the guard's tests in simulated launches, looked at after every session."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bench import oracle
from bench.balances import balances
from bench.delays import as_they_come, at_deadline, delays
from bench.harness import Measured, Setting
from bench.launches import (
    Bools,
    Floats,
    Launches,
    coin_path,
    cusum_path,
    difference_path,
    first,
    latency_path,
    launches,
    score_path,
    upper_bound,
)
from bench.rules import arms, asymptotic, five_strikes, mann_whitney, peeked_z
from kedge.guard import DifferenceSequence, FailureTest, HoldbackTest, LatencySettings, LatencyTest, ScoreTest, SloTest
from kedge.guard.settings import FRACTIONS, RATIOS

SESSIONS = 4_000  # of both arms
AFTER, CHANGE = 24_000, 6_000  # sessions after a promotion, and when it turns bad
ALPHA, MAIN = 0.05, 0.5  # the main one of eight metrics has half of alpha
LINE = 0.065  # of an SLO: the failure rate that is allowed
CHUNK = 100  # launches at once, so that arrays stay in the processor's cache
EVEN = np.full(SESSIONS, 0.5)
RAMP = np.repeat([0.05, 0.25, 0.5], [2_000, 2_000, 2_800])  # 2,000 of them in the canary
FLAT = np.full(SESSIONS, 0.05)
DRIFT = np.linspace(0.02, 0.10, len(RAMP))

DEADLINE = 400  # sessions that a verdict may take

Rule = Callable[[Launches, Any], Bools]
Stream = Callable[[np.random.Generator, int], tuple[Launches, Any]]


def e_rule(alpha: float = ALPHA) -> Rule:
    """Return the rule of `FailureTest` at a level."""
    return lambda runs, failed: coin_path(RATIOS, runs, failed) >= -math.log(alpha)


def worse(rule: Rule) -> Rule:
    """Return a rule for values of which higher ones are better."""
    return lambda runs, values: rule(runs, -values)


def score_rule(runs: Launches, values: Any) -> Bools:
    """Return where `ScoreTest` finds."""
    return np.asarray(score_path(FRACTIONS, runs, values) >= -math.log(ALPHA))


def latency_rule(runs: Launches, values: Any) -> Bools:
    """Return where `LatencyTest` finds."""
    return np.asarray(latency_path(LatencySettings(), runs, values) >= -math.log(ALPHA))


OTHERS: dict[str, Rule] = {
    "others: z test, looked at always": peeked_z,
    "GrowthBook: asymptotic sequence, tuned for 5,000": asymptotic,
    "Kayenta: Mann-Whitney in each interval": mann_whitney,
}
RULES: dict[str, Rule] = {
    "FailureTest": e_rule(),
    **OTHERS,
    "Flagger: 5 intervals above 7.5%": five_strikes,
    "others: 5 intervals above 7.5% in a row": lambda runs, failed: five_strikes(runs, failed, in_a_row=True),
}


def guard(setting: Setting) -> Iterator[Measured]:
    """Measure false alarms, delays, and the agreement of this simulation with what is shipped."""
    count = setting.sizes.launches
    yield from agreement(min(count, 200))
    yield from oracle.compared(min(count, 20))
    yield from failures(count)
    yield from power(count)
    yield from eight(count)
    yield from delayed(count)
    yield from scores(count)
    yield from latencies(count)
    yield from differences(count)
    yield from balances(count, RAMP, DRIFT)
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
        sessions = len(RAMP) if "ramp" in name else SESSIONS
        for rule, stops in stopped(stream, count, RULES).items():
            yield false_alarms(f"{name}: {rule}", stops, sessions, aimed=rule == "FailureTest")
    for bad, target in ((0.10, 380), (0.25, 50)):
        for rule, stops in stopped(rates(EVEN, FLAT, np.full(SESSIONS, bad)), count, RULES).items():
            yield delay(
                f"failures 5% to {bad:.0%}: {rule}", stops / 2, at_most=target if rule == "FailureTest" else None
            )


def power(count: int) -> Iterator[Measured]:
    """Measure how many sessions other differences and another share need."""
    for before, after, share in ((0.02, 0.04, 0.5), (0.05, 0.07, 0.5), (0.10, 0.15, 0.5), (0.05, 0.10, 0.1)):
        weights = np.full(SESSIONS, share)
        stream = rates(weights, np.full(SESSIONS, before), np.full(SESSIONS, after))
        stops = stopped(stream, count, {"e": RULES["FailureTest"]})["e"]
        name = f"failures {before:.0%} to {after:.0%}, share {share:.0%}: FailureTest"
        detail = f"found in {np.mean(stops <= SESSIONS):.1%}"
        yield Measured(name, float(np.median(stops)), "sessions of both arms", detail)


def eight(count: int) -> Iterator[Measured]:
    """Measure eight metrics with weights, half of alpha on the main one: of their own, and of which most are alike."""
    weights = [MAIN, *[(1 - MAIN) / 7] * 7]
    for name, alike in (("", 0.0), (" that depend on each other", 0.7)):
        stops: dict[str, list[Floats]] = {"weighted": [], "each at 5%": []}
        for rng, size in chunks(count, 50):
            runs = launches(rng, size, EVEN)
            common = rng.random(runs.canary.shape)
            paths = [
                coin_path(RATIOS, runs, np.where(rng.random(common.shape) < alike, common, own) < FLAT)
                for own in (rng.random(common.shape) for _ in weights)
            ]
            for rule, of in (("weighted", weights), ("each at 5%", [1.0] * 8)):
                found = [first(path >= -math.log(ALPHA * weight)) for path, weight in zip(paths, of, strict=True)]
                stops[rule].append(np.min(found, axis=0))
        for rule, each in stops.items():
            aimed = rule == "weighted"
            yield false_alarms(f"A/A, any of 8 metrics{name}, {rule}", np.concatenate(each), SESSIONS, aimed=aimed)
    ends = stopped(rates(EVEN, FLAT, np.full(SESSIONS, 0.10)), count, {"e": e_rule(ALPHA * MAIN)})["e"]
    yield delay("failures 5% to 10%, main one of 8 metrics", ends / 2, at_most=480)


def delayed(count: int) -> Iterator[Measured]:
    """Measure verdicts that come late: by the rule of the guard, and by taking each as it comes."""
    limit = -math.log(ALPHA)
    for name, canary, baseline, bad in (
        ("A/A, verdicts after 200 sessions", 200, 200, 0.05),
        ("A/A, verdicts after 50 (canary) and 400 (baseline)", 50, 400, 0.05),
        ("A/A, verdicts after 400 (canary) and 50 (baseline)", 400, 50, 0.05),
        ("A/A, verdicts after 200 (canary) and 400 (baseline)", 200, 400, 0.05),
        ("failures 5% to 10%, verdicts after 80 sessions", 80, 80, 0.10),
        ("failures 5% to 25%, verdicts after 80 sessions", 80, 80, 0.25),
    ):
        stops: dict[str, list[Floats]] = {"at the deadline": [], "others: as they come": []}
        for rng, size in chunks(count, 60):
            runs, failed = rates(EVEN, FLAT, np.full(SESSIONS, bad))(rng, size)
            wait = delays(rng, runs, canary, baseline)
            stops["at the deadline"].append(at_deadline(runs, failed, wait, DEADLINE, limit))
            stops["others: as they come"].append(as_they_come(runs, failed, wait, limit))
        for rule, each in stops.items():
            ends, aimed = np.concatenate(each), rule == "at the deadline"
            if name.startswith("A/A"):
                yield false_alarms(f"{name}: {rule}", ends, SESSIONS, aimed=aimed)
            else:
                yield delay(f"{name}: {rule}", ends / 2)


def scores(count: int) -> Iterator[Measured]:
    """Measure `ScoreTest` on scores of mean 0.7 and deviation 0.2, and the rules of others on the same scores."""
    rules = {"ScoreTest": score_rule, **{name: worse(rule) for name, rule in OTHERS.items()}}
    rules["Flagger: 5 intervals below 0.68"] = lambda runs, values: five_strikes(runs, -values, limit=-0.68)
    for by in (0.0, 0.05):

        def stream(rng: np.random.Generator, size: int, by: float = by) -> tuple[Launches, Any]:
            runs = launches(rng, size, EVEN)
            mean = np.where(runs.canary, 0.7 - by, 0.7)
            return runs, rng.beta(mean * 4.25, (1 - mean) * 4.25)

        for rule, stops in stopped(stream, count, rules, seed=20).items():
            name = f"score {-by:+.2f}" if by else "A/A, score"
            yield judged(by == 0, f"{name}: {rule}", stops, aimed=rule == "ScoreTest")


def latencies(count: int) -> Iterator[Measured]:
    """Measure `LatencyTest` on log-normal latencies, of which 5% take five times as long, and the rules of others."""
    rules = {"LatencyTest": latency_rule, **OTHERS}
    rules["Flagger: 5 intervals of a mean above 1.5"] = lambda runs, values: five_strikes(runs, values, limit=1.5)
    for name, by, slow in (
        ("A/A, latency", 1.0, 0.05),
        ("latency × 1.3", 1.3, 0.05),
        ("slow tail 5% to 10%", 1.0, 0.10),
    ):

        def stream(rng: np.random.Generator, size: int, by: float = by, slow: float = slow) -> tuple[Launches, Any]:
            runs = launches(rng, size, EVEN)
            is_slow = rng.random(runs.canary.shape) < np.where(runs.canary, slow, 0.05)
            body = rng.lognormal(0, 0.5, runs.canary.shape) * np.where(runs.canary, by, 1)
            return runs, body * np.where(is_slow, 5, 1)

        for rule, stops in stopped(stream, count, rules, seed=30).items():
            yield judged(name.startswith("A/A"), f"{name}: {rule}", stops, aimed=rule == "LatencyTest")


def differences(count: int) -> Iterator[Measured]:
    """Measure how often the interval of `DifferenceSequence` ever misses, and what is read when a test stops."""
    for name, share, baseline, canary in (
        ("A/A at 5%", EVEN, FLAT, FLAT),
        ("5% to 10%", EVEN, FLAT, np.full(SESSIONS, 0.10)),
        ("5% to 10%, ramp 5, 25, 50%", RAMP, np.full(len(RAMP), 0.05), np.full(len(RAMP), 0.10)),
    ):
        true = float(canary[0] - baseline[0])
        missed, widths, plain, covered = [], [], [], []
        for rng, size in chunks(count, 70):
            runs, failed = rates(share, baseline, canary)(rng, size)
            path = difference_path(runs, failed.astype(np.float64))
            missed.append(((path.low > true) | (path.high < true)).any(axis=1))
            widths.append(path.high[:, -1] - path.low[:, -1])
            stop = first(coin_path(RATIOS, runs, failed) >= -math.log(ALPHA)).astype(np.int64) - 1
            row = np.flatnonzero(stop < len(share))
            of, at = arms(runs, failed), stop[row]
            plain.append(of.canary_mean[row, at] - of.baseline_mean[row, at])
            covered.append((path.low[row, at] <= true) & (true <= path.high[row, at]))
        ever, width = np.concatenate(missed), float(np.median(np.concatenate(widths)))
        bound = 100 * upper_bound(int(ever.sum()), len(ever))
        detail = f"{ever.mean():.3f} of the launches; at the end it is {width:.3f} wide"
        yield Measured(f"DifferenceSequence, {name}: ever wrong, at most", bound, "%", detail, at_most=100 * ALPHA)
        if true:
            found, held = np.concatenate(plain) / true, np.concatenate(covered)
            detail = f"90% of them below {np.quantile(found, 0.9):.2f}; the interval held it in {held.mean():.1%}"
            yield Measured(f"difference read at the stop, {name}", float(np.median(found)), "of the true one", detail)


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


def judged(harmless: bool, name: str, stops: Floats, *, aimed: bool) -> Measured:
    """Return the row of false alarms, or that of the delay."""
    return false_alarms(name, stops, SESSIONS, aimed=aimed) if harmless else delay(name, stops / 2)


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
    yield from of_difference(runs, score)


def of_difference(runs: Launches, scores: Floats) -> Iterator[Measured]:
    """Compare the intervals of this simulation with those of the shipped sequence."""
    path, largest = difference_path(runs, scores), 0.0
    for row, canary in enumerate(runs.canary):
        sequence = DifferenceSequence()
        for now, share in enumerate(runs.share):
            found = sequence.observe("canary" if canary[now] else "baseline", scores[row, now], share)
            off = abs(found.low - path.low[row, now]) + abs(found.high - path.high[row, now])
            largest = max(largest, float(off))
    name = f"DifferenceSequence: simulation and observe() on {len(runs.canary)} streams"
    yield Measured(name, largest, "of the interval", at_most=1e-9)
