"""Samples of a verification."""

from kedge.model.verification import spread


def test_a_sample_is_spread_evenly_and_ends_at_the_newest_write() -> None:
    assert spread(10, 5) == [2, 4, 6, 8, 10]
    assert spread(1_000, 4)[-1] == 1_000
    assert set(spread(3, 5)) == {1, 2, 3}
    assert spread(0, 2) == [0, 0]
    assert spread(20, 2, after=10) == [15, 20]
    assert spread(20, 1, after=10) == [20]
