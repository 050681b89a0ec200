"""Rate limiter: the rate holds from the first row on, for any batches; unused rate is not saved up."""

from __future__ import annotations

import pytest

from kedge.bulk.rate_limit import RateLimit
from kedge.errors import InvalidValue


class FakeTime:
    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def pace_of(rate: float | None) -> tuple[RateLimit, FakeTime]:
    time = FakeTime()
    return RateLimit(rate, now=lambda: time.now, sleep=time.sleep), time


def test_the_first_batch_passes_at_once_and_each_waits_for_the_one_before() -> None:
    pace, time = pace_of(100)
    for rows in (50, 200, 10):
        pace.wait(rows)
    assert time.slept == [0.5, 2.0]


def test_work_between_the_batches_counts() -> None:
    pace, time = pace_of(100)
    pace.wait(100)
    time.now += 0.75
    pace.wait(100)
    assert time.slept == [0.25]


def test_a_pause_is_not_caught_up_with() -> None:
    pace, time = pace_of(10)
    pace.wait(10)
    time.now += 1000
    pace.wait(10)
    pace.wait(10)
    assert time.slept == [1.0]


def test_without_a_rate_nobody_waits() -> None:
    pace, time = pace_of(None)
    pace.wait(1_000_000)
    assert time.slept == []


@pytest.mark.parametrize("rate", [0, -1, True, "fast", float("nan")])
def test_a_rate_is_a_positive_number(rate: float) -> None:
    with pytest.raises(InvalidValue, match="rate="):
        RateLimit(rate)
