"""The position of a moment in the journal is stable, although times of overlapping writes are unordered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kedge.model.moments import seq_at

_times = st.lists(st.floats(min_value=0, max_value=10), min_size=1, max_size=40)


@given(times=_times, moment=st.floats(min_value=-1, max_value=11))
def test_a_moment_lies_at_the_last_seq_that_is_not_later(times: list[float], moment: float) -> None:
    ordered = sorted(times)
    expected = sum(time <= moment for time in ordered)
    assert seq_at(moment, len(ordered), lambda seq: ordered[seq - 1]) == expected


@given(times=_times, moment=st.floats(min_value=0, max_value=10), later=_times)
def test_what_is_written_later_does_not_move_it(times: list[float], moment: float, later: list[float]) -> None:
    journal = [*times, *(moment + 0.5 + time for time in later)]
    found = seq_at(moment, len(times), lambda seq: journal[seq - 1])
    assert seq_at(moment, len(journal), lambda seq: journal[seq - 1]) == found
