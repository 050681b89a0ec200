"""Names of messages sort in the order of the history."""

from hypothesis import given
from hypothesis import strategies as st

from kedge.model.checks import check_name
from kedge.model.writes import memory_name

positions = st.tuples(st.integers(1, 2**62), st.integers(1, 2**62))


@given(positions, positions)
def test_name_order_is_rank_order_and_then_seq_order(one: tuple[int, int], other: tuple[int, int]) -> None:
    assert (memory_name(*one) < memory_name(*other)) == (one < other)
    assert memory_name(*one) == check_name("the message", memory_name(*one))
