"""Non-inferiority and balance: they hold their level, they find what there is, and their state comes back."""

from __future__ import annotations

import random

import pytest

from kedge.errors import InvalidValue
from kedge.guard import BalanceTest, NonInferiorityTest

LIMIT = 20.0


def run(test: NonInferiorityTest, canary: float, baseline: float, sessions: int, seed: int, share: float) -> bool:
    """Return whether the test ever says that the canary is not worse."""
    draw = random.Random(seed)
    for _ in range(sessions):
        arm = "canary" if draw.random() < share else "baseline"
        good = draw.random() < (canary if arm == "canary" else baseline)
        if test.observe(arm, float(good), share) >= LIMIT:  # type: ignore[arg-type]
            return True
    return False


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_canary_worse_by_the_margin_is_shown_good_at_most_as_often_as_alpha(share: float) -> None:
    wrong = sum(run(NonInferiorityTest(0.1), 0.8, 0.9, 1_000, seed, share) for seed in range(200))
    assert wrong <= 16  # at 5%: more in one of 60 series


def test_an_equal_canary_is_shown_within_a_thousand_sessions() -> None:
    assert all(run(NonInferiorityTest(0.1), 0.95, 0.95, 1_000, seed, 0.5) for seed in range(20))


def test_scores_have_a_unit_and_bounds() -> None:
    wide, narrow = NonInferiorityTest(0.5, 0, 5), NonInferiorityTest(0.1, 0, 1)
    draw = random.Random(1)
    for _ in range(50):
        arm, value = ("canary", "baseline")[draw.random() < 0.5], draw.random()
        wide.observe(arm, 5 * value, 0.5)  # type: ignore[arg-type]
        narrow.observe(arm, value, 0.5)  # type: ignore[arg-type]
    assert wide.log_e == pytest.approx(narrow.log_e)
    for margin in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(InvalidValue, match="margin"):
            NonInferiorityTest(margin)


def test_it_goes_on_from_its_document_and_says_how_many_more() -> None:
    test = NonInferiorityTest(0.1)
    assert test.more_sessions(LIMIT) is None
    for _ in range(30):
        test.observe("canary", 1.0, 0.5)
        test.observe("baseline", 1.0, 0.5)
    again = NonInferiorityTest.from_json(test.to_json())
    assert again.observe("canary", 1.0, 0.5) == test.observe("canary", 1.0, 0.5)
    more = test.more_sessions(LIMIT)
    assert more is not None
    for _ in range(2 * more + 2):
        test.observe("canary", 1.0, 0.5)
        test.observe("baseline", 1.0, 0.5)
    assert test.more_sessions(LIMIT) == 0
    document = test.to_json()
    document["log_wealth"] = document["log_wealth"][:-1]
    with pytest.raises(InvalidValue):
        NonInferiorityTest.from_json(document)


@pytest.mark.parametrize(("canary", "finds"), [(0.2, False), (0.3, True), (0.1, True)])
def test_balance_finds_a_mismatch_in_both_directions(canary: float, *, finds: bool) -> None:
    draw, test = random.Random(4), BalanceTest()
    for _ in range(1_000):
        test.observe("canary" if draw.random() < canary else "baseline", 0.2)
    assert (test.peak >= 1000) is finds
    again = BalanceTest.from_json(test.to_json())
    assert again.observe("canary", 0.2) == test.observe("canary", 0.2)
