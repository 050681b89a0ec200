"""Steps of a launch, weights of its metrics, and the interval of a difference."""

import json
import math
from typing import Any

import numpy as np
import pytest

from kedge import InvalidValue
from kedge.guard import (
    DifferenceSequence,
    Evidence,
    FailureSettings,
    FailureTest,
    GuardSettings,
    LatencySettings,
    MetricSettings,
    ScoreSettings,
    Step,
    decide,
)
from kedge.guard.sessions import Arm

TWO = GuardSettings(
    (MetricSettings("resolved", FailureSettings(), 0.5), MetricSettings("score", ScoreSettings(0, 10), 0.25))
)


def e(now: float, peak: float | None = None) -> Evidence:
    return Evidence(math.log(now), math.log(now if peak is None else peak))


@pytest.mark.parametrize(
    ("resolved", "score", "step", "metric"),
    [
        (e(1), e(1), Step.CONTINUE, None),
        (e(2.99), e(0.1), Step.CONTINUE, None),
        (e(3.01), e(1), Step.HOLD, "resolved"),
        (e(3.01), e(10.01), Step.DEGRADE, "score"),
        (e(39.9), e(79.9), Step.DEGRADE, "resolved"),
        (e(40.1), e(1), Step.ROLL_BACK, "resolved"),
        (e(1), e(80.1), Step.ROLL_BACK, "score"),
        (e(0.5, peak=41), e(1), Step.ROLL_BACK, "resolved"),  # latched
        (e(0.5, peak=39), e(1), Step.CONTINUE, None),
    ],
)
def test_the_strongest_step_wins(resolved: Evidence, score: Evidence, step: Step, metric: str | None) -> None:
    decision = decide(TWO, {"resolved": resolved, "score": score})
    assert (decision.step, decision.metric) == (step, metric)


def test_a_metric_without_data_holds() -> None:
    assert decide(TWO, {"resolved": e(1)}).step is Step.HOLD
    assert decide(TWO, {"resolved": e(50)}).step is Step.ROLL_BACK


def test_a_reason_names_the_metric_and_both_numbers() -> None:
    reason = decide(TWO, {"resolved": e(50), "score": e(1)}).reason
    assert reason == "e = 50 of resolved, limit 40"
    assert "exp(900.0)" in decide(TWO, {"resolved": Evidence(900, 900)}).reason


def test_evidence_of_an_undeclared_metric_or_not_a_number_is_refused() -> None:
    with pytest.raises(InvalidValue, match="'cost'"):
        decide(TWO, {"cost": e(1)})
    with pytest.raises(InvalidValue, match="numbers"):
        decide(TWO, {"resolved": Evidence(math.nan, 0), "score": e(1)})
    with pytest.raises(InvalidValue, match="`evidence` of its test"):
        decide(TWO, {"resolved": 25.0, "score": e(1)})  # type: ignore[dict-item]


def test_a_failing_canary_climbs_every_step() -> None:
    settings = GuardSettings((MetricSettings("resolved", FailureSettings()),))
    test, steps = FailureTest(), []
    for _ in range(12):
        test.observe("canary", False, 0.5)
        test.observe("baseline", True, 0.5)
        steps.append(decide(settings, {"resolved": test.evidence}).step)
    assert list(dict.fromkeys(steps)) == list(Step)


def test_settings_survive_json_with_their_digest() -> None:
    again = GuardSettings.from_json(json.loads(json.dumps(TWO.to_json())))
    assert again == TWO
    assert again.digest == TWO.digest
    assert GuardSettings(TWO.metrics, alpha=0.01).digest != TWO.digest
    assert TWO.digest.startswith("sha256:")


def metric(name: str = "a", weight: Any = 0.5) -> MetricSettings:
    return MetricSettings(name, LatencySettings(), weight)


@pytest.mark.parametrize(
    "make",
    [
        lambda: GuardSettings(()),
        lambda: GuardSettings("resolved"),  # type: ignore[arg-type]
        lambda: GuardSettings(("resolved",)),  # type: ignore[arg-type]
        lambda: GuardSettings(None),  # type: ignore[arg-type]
        lambda: GuardSettings((metric("a"), metric("a"))),
        lambda: GuardSettings((metric("a", 0.6), metric("b", 0.6))),
        lambda: GuardSettings((metric(),), alpha=0),
        lambda: GuardSettings((metric(),), hold=20),
        lambda: GuardSettings((metric(),), degrade=math.inf),
        lambda: metric(weight=0),
        lambda: metric(weight="1"),
        lambda: metric(name=""),
        lambda: MetricSettings("a", "failure"),  # type: ignore[arg-type]
        lambda: GuardSettings.from_json({"metrics": []}),
        lambda: GuardSettings.from_json({"metrics": [], "beta": 1}),
        lambda: GuardSettings.from_json(None),
    ],
)
def test_settings_that_contradict_are_refused(make: Any) -> None:
    with pytest.raises(InvalidValue):
        make()


def test_weights_that_add_up_to_one_are_accepted() -> None:
    GuardSettings(tuple(metric(name, weight) for name, weight in (("a", 0.1), ("b", 0.2), ("c", 0.7))))


@pytest.mark.parametrize("by", [0.0, 0.2])
def test_an_interval_covers_the_difference_at_all_times(by: float) -> None:
    """100 streams: at alpha 5% all but 5 or so must cover, in fact nearly all do; and the interval tells 0.2 from 0."""
    rng, sessions = np.random.default_rng(3), 400
    assigned = rng.random((100, sessions)) < 0.5
    drift = np.linspace(0.1, 0.3, sessions)
    failed = rng.random(assigned.shape) < np.where(assigned, drift + by, drift)
    missed, last = 0, []
    for canary, values in zip(assigned, failed, strict=True):
        sequence, covers = DifferenceSequence(), True
        for is_canary, value in zip(canary, values, strict=True):
            interval = sequence.observe("canary" if is_canary else "baseline", float(value), 0.5)
            covers = covers and interval.low <= by <= interval.high
        missed += not covers
        last.append(sequence.interval)
    assert missed <= 5
    assert np.median([interval.high - interval.low for interval in last]) < 0.4
    assert (np.mean([interval.low > 0 for interval in last]) > 0.3) == (by > 0)


def test_an_interval_has_the_unit_of_the_values() -> None:
    of_one, of_ten = DifferenceSequence(), DifferenceSequence(-5, 5)
    for number in range(300):
        arm: Arm = "canary" if number % 2 else "baseline"
        of_one.observe(arm, 0.5 + number % 2 / 4, 0.5)
        of_ten.observe(arm, 10 * (0.5 + number % 2 / 4) - 5, 0.5)
    small, large = of_one.interval, of_ten.interval
    assert (large.low, large.high) == pytest.approx((10 * small.low, 10 * small.high))
    assert 0 < large.low < 2.5 < large.high
