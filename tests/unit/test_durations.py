"""Durations as text and as numbers."""

from __future__ import annotations

import pytest

from kedge.errors import InvalidValue
from kedge.model.durations import check_duration, seconds_of, span_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("50ms", 0.05), ("90s", 90), (" 1.5 h ", 5_400), ("15MIN", 900), ("2m", 120), ("30d", 2_592_000), ("1w", 604_800)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert seconds_of(text) == pytest.approx(seconds)
    assert span_of(text, "--age") == check_duration("age", text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "90", "s", "-1s", "1y", "1s2"])
def test_other_text_is_no_duration(text: str) -> None:
    assert seconds_of(text) is None
    with pytest.raises(InvalidValue, match="write a duration"):
        span_of(text, "--age")


@pytest.mark.parametrize("given", [0, -1, True, None, "0s", "soon", float("inf"), float("nan"), [1]])
def test_a_setting_is_positive_seconds(given: object) -> None:
    with pytest.raises(InvalidValue, match="invalid rollback_completion"):
        check_duration("rollback_completion", given)


def test_a_number_is_seconds() -> None:
    assert check_duration("age", 30) == 30.0
