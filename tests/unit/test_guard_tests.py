"""Tests of the guard: small cases by hand, refused input, states that resume, settings that are hashed."""

import json
import math
import random
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import kedge
from kedge import InvalidValue
from kedge.guard import (
    DifferenceSequence,
    FailureSettings,
    FailureTest,
    HoldbackTest,
    LatencySettings,
    LatencyTest,
    NonInferiorityTest,
    ScoreSettings,
    ScoreTest,
    SloTest,
)
from kedge.guard.sessions import Arm

KINDS: list[Any] = [FailureTest, ScoreTest, LatencyTest, HoldbackTest, DifferenceSequence]


def stream(sessions: int, seed: int = 1) -> Iterator[tuple[Arm, Any, float]]:
    """Yield sessions whose value is True or False, at a share that changes."""
    rng = random.Random(seed)
    for number in range(sessions):
        share = 0.05 if number < sessions / 2 else 0.5
        arm: Arm = "canary" if rng.random() < share else "baseline"
        yield arm, rng.random() > (0.2 if arm == "canary" else 0.1), share


def suited(test: Any, value: bool) -> Any:
    return value if isinstance(test, FailureTest | HoldbackTest) else float(value)


def test_the_package_is_an_attribute() -> None:
    assert kedge.guard.FailureTest is FailureTest


def test_failures_by_hand() -> None:
    test = FailureTest(ratios=(2.0, 4.0))
    assert test.observe("canary", True, 0.5) == 1  # a success
    first = test.observe("canary", False, 0.5)
    assert first == pytest.approx((2 / 1.5 + 4 / 2.5) / 2)
    second = test.observe("baseline", False, 0.2)
    assert second == pytest.approx((2 / 1.5 / 1.2 + 4 / 2.5 / 1.6) / 2)
    assert (test.e, test.peak, test.sessions) == (second, first, (2, 1))


def test_the_kind_says_what_true_means() -> None:
    success, failure = FailureTest(), FailureTest("failure")
    for arm, value, share in stream(200):
        assert success.observe(arm, value, share) == failure.observe(arm, not value, share)
    assert success.e != 1


def test_scores_by_hand() -> None:
    test = ScoreTest(0, 10, fractions=(0.5,))
    assert test.observe("canary", 2, 0.5) == pytest.approx(1 + 0.5 * (0.5 - 0.2) / 0.5)
    centre = (0.2 + 0.5) / 2
    factor = 1 + 0.5 * (0.8 - centre) * 0.25 / ((1 - centre) * 0.75)
    assert test.observe("baseline", 8, 0.25) == pytest.approx(1.3 * factor)


def test_latencies_by_hand() -> None:
    test = LatencyTest(fractions=(0.5,), ratios=(3.0,))
    for number in range(20):
        assert test.observe("baseline", number, 0.5) == 1
    # Longer than all 20: rank 0, which pays the most; and an exceedance.
    assert test.observe("canary", 100, 0.5) == pytest.approx((1.5 + 3 / 2) / 2)
    # Below 9 and a tie with one of 21: nothing in the tail.
    rank = (9 + 10) / 42
    assert test.observe("baseline", 9, 0.5) == pytest.approx((1.5 * (1 + 0.5 * (0.5 - rank) / 0.5) + 1.5) / 2)


def test_a_window_forgets() -> None:
    short = LatencyTest(window=20)
    for number in range(100):
        short.observe("baseline", number, 0.5)
    assert short.to_json()["recent"] == [float(number) for number in range(80, 100)]


def test_a_holdback_starts_anew_wherever_it_was_below_one() -> None:
    test = HoldbackTest(ratios=(2.0,))
    for _ in range(50):
        test.observe("baseline", False, 0.9)
    assert test.observe("canary", False, 0.5) == pytest.approx(2 / 1.5)
    assert not test.alarm


def test_an_slo_alarms_above_its_line() -> None:
    test = SloTest(0.1, limit=100)
    for number in range(400):
        test.observe(number % 10 != 0)
    before = test.alarm
    for number in range(100):
        test.observe(number % 2 == 0)
    assert (before, test.alarm, SloTest.from_json(test.to_json()).alarm) == (False, True, True)


def test_a_launch_at_all_or_no_traffic_learns_nothing() -> None:
    for kind in (FailureTest, ScoreTest, LatencyTest):
        test = kind()
        for number in range(60):
            assert test.observe("canary", suited(test, number % 3 == 0), 1.0) == 1
            assert test.observe("baseline", suited(test, number % 2 == 0), 0.0) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("arm", "share", "words"),
    [
        ("control", 0.5, "arm 'control'"),
        (None, 0.5, "arm None"),
        (["canary"], 0.5, "must be 'canary' or 'baseline'"),
        ("canary", 1.01, "share 1.01"),
        ("canary", -0.1, "from 0 to 1"),
        ("canary", math.nan, "share nan"),
        ("canary", True, "share True"),
        ("canary", "0.5", "share '0.5'"),
        ("canary", 0, "share 0 of a canary session"),
        ("baseline", 1, "when the session was assigned"),
    ],
)
def test_a_session_that_cannot_be_is_refused_and_changes_nothing(kind: Any, arm: Any, share: Any, words: str) -> None:
    test = kind()
    before = test.to_json()
    with pytest.raises(InvalidValue, match=words):
        test.observe(arm, suited(test, True), share)
    assert test.to_json() == before


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *[(FailureTest, value) for value in (1, 0.0, "yes", None, [True])],
        *[(ScoreTest, value) for value in (-0.1, 1.1, math.nan, math.inf, True, "1", None)],
        *[(LatencyTest, value) for value in (-1, math.nan, math.inf, False, "3s", None)],
        *[(DifferenceSequence, value) for value in (2, None, math.nan)],
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_refused_and_changes_nothing(kind: Any, value: Any) -> None:
    test = kind()
    before = test.to_json()
    with pytest.raises(InvalidValue, match="must be"):
        test.observe("canary", value, 0.5)
    assert test.to_json() == before


def test_scalars_of_numpy_are_accepted() -> None:
    assert FailureTest().observe("canary", np.bool_(False), np.float64(0.5)) > 1
    assert ScoreTest().observe("canary", np.float32(0), 0.5) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_gives_the_same_however_it_is_split(kind: Any) -> None:
    whole, split = kind(), kind()
    for number, (arm, value, share) in enumerate(stream(400)):
        if number % 7 == 3:
            split = kind.from_json(json.loads(json.dumps(split.to_json())))
        assert whole.observe(arm, suited(whole, value), share) == split.observe(arm, suited(split, value), share)
    assert whole.to_json() == split.to_json()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"canary": "3"},
        {"unknown": 1},
        {"log_wealth": [0.0]},
        {"log_wealth": [math.nan] * 4},
        {"recent": [1.0] * 401},
    ],
    ids=str,
)
def test_a_state_that_does_not_fit_is_refused(kind: Any, change: dict[str, Any]) -> None:
    document = kind().to_json()
    with pytest.raises(InvalidValue):
        kind.from_json(document | change)


@pytest.mark.parametrize("test", [ScoreTest(), NonInferiorityTest(0.1)], ids=["score", "non-inferiority"])
@pytest.mark.parametrize("total", [-0.1, 1.1, math.inf])
def test_a_total_that_no_scores_add_up_to_is_refused(test: Any, total: float) -> None:
    document = test.to_json() | {"canary": 1}
    assert type(test).from_json(document | {"total": 1.0}).sessions == (1, 0)
    with pytest.raises(InvalidValue, match=r"invalid total|Inf"):
        type(test).from_json(document | {"total": total})


@pytest.mark.parametrize("document", [None, [], "state", {}, FailureTest().to_json()])
def test_another_document_is_refused(document: Any) -> None:
    with pytest.raises(InvalidValue):
        ScoreTest.from_json(document)


def test_e_values_neither_overflow_nor_vanish() -> None:
    worse, better = FailureTest(), FailureTest()
    for _ in range(6_000):
        worse.observe("canary", False, 0.01)
        better.observe("baseline", False, 0.99)
    assert worse.e == sys.float_info.max
    assert better.e == 0
    assert math.isfinite(better.log_e)
    assert json.loads(json.dumps(worse.to_json())) == worse.to_json()


def test_settings_of_equal_values_have_the_digest_of_this_version() -> None:
    """A digest stands in manifests: it may change only together with the format."""
    assert FailureSettings().digest == FailureTest().settings.digest
    assert ScoreSettings(0, 1).digest == ScoreSettings(0.0, 1.0).digest != ScoreSettings(0, 2).digest
    assert LatencySettings().digest != LatencySettings(window=401).digest
    assert FailureSettings().digest == "sha256:316ad824b49fb773917aee23df772c60635032685ff30839bf89933244ddc688"


@pytest.mark.parametrize(
    "make",
    [
        lambda: FailureTest("bad"),  # type: ignore[arg-type]
        lambda: FailureTest(ratios=()),
        lambda: FailureTest(ratios=(1.0, 2.0)),
        lambda: FailureTest(ratios=(2.0, math.inf)),
        lambda: FailureTest(ratios=2.0),  # type: ignore[arg-type]
        lambda: ScoreTest(1, 1),
        lambda: ScoreTest(0, math.inf),
        lambda: ScoreTest("0", 1),  # type: ignore[arg-type]
        lambda: ScoreTest(fractions=(0.5, 1.0)),
        lambda: LatencyTest(window=1),
        lambda: LatencyTest(quantile=1.0),
        lambda: HoldbackTest(limit=1),
        lambda: SloTest(0.0),
        lambda: DifferenceSequence(alpha=0),
    ],
)
def test_settings_out_of_range_are_refused(make: Any) -> None:
    with pytest.raises(InvalidValue, match="must be"):
        make()
