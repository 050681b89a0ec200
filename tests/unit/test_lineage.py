"""Lineages: minimal sets, unions, and ranges of numbers."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from kedge.model.lineage import EMPTY, Lineage, antichain, from_ranges, to_ranges, union

numbers = st.integers(1, 12)
lineages = st.frozensets(numbers, max_size=5)


@given(st.lists(lineages))
def test_an_antichain_is_the_minimal_sets_smallest_first(given_: list[Lineage]) -> None:
    minimal = antichain(given_)
    assert set(minimal) == {s for s in given_ if not any(other < s for other in given_)}
    assert len(set(minimal)) == len(minimal)
    assert [len(s) for s in minimal] == sorted(len(s) for s in minimal)


@given(st.lists(lineages), st.frozensets(numbers))
def test_an_antichain_is_seen_exactly_where_the_sets_are(given_: list[Lineage], seen: Lineage) -> None:
    assert any(s <= seen for s in antichain(given_)) == any(s <= seen for s in given_)


def test_nothing_dominates_more_than_the_empty_set() -> None:
    assert antichain([frozenset({1}), EMPTY, frozenset({2, 3})]) == [EMPTY]


@given(st.lists(lineages))
def test_a_union_holds_all_and_no_more(given_: list[Lineage]) -> None:
    assert union(given_) == {n for s in given_ for n in s}


@given(st.frozensets(st.integers(1, 200)))
def test_ranges_hold_exactly_their_numbers(chosen: Lineage) -> None:
    ranges = to_ranges(chosen)
    assert from_ranges(ranges) == chosen
    assert all(first <= last for first, last in ranges)
    assert all(after[0] > before[1] + 1 for before, after in itertools.pairwise(ranges)), "not joined"


def test_a_long_run_is_one_range() -> None:
    assert to_ranges(range(1, 10_001)) == ((1, 10_000),)
    assert to_ranges([5, 3, 4, 9]) == ((3, 5), (9, 9))
