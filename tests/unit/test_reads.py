"""The read log of a turn, packed and unpacked."""

from hypothesis import given
from hypothesis import strategies as st

from kedge.model.reads import RangeRead, Reads, pack, unpack

ranges = st.builds(
    RangeRead,
    st.sampled_from(["context", "memory"]),
    st.text(max_size=4),
    st.text(max_size=4),
    st.integers(0, 2**40),
    st.none() | st.integers(0, 50),
)


@given(st.lists(st.integers(1, 2**62)), st.lists(ranges))
def test_reads_come_back_sorted_and_once(seqs: list[int], read: list[RangeRead]) -> None:
    back = unpack(pack(Reads(list(seqs), list(read))))
    assert back.seqs == sorted(set(seqs))
    assert back.ranges == list(dict.fromkeys(read))


def test_nothing_read_is_nothing() -> None:
    assert unpack(pack(Reads())) == Reads()


def test_many_reads_near_each_other_are_a_byte_or_two_each() -> None:
    assert len(pack(Reads(list(range(10**9, 10**9 + 10_000))))) < 10_100


def test_a_range_stays_a_range() -> None:
    packed = pack(Reads([], [RangeRead("documents", "kb", "", 10**6)]))
    assert len(packed) < 40, "however many names it held"
