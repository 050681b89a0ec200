"""Which class a row has in a view, and which lineages supersede a row."""

from hypothesis import given
from hypothesis import strategies as st

from kedge.model.lineage import Lineage
from kedge.model.states import RowClass, StateTable, classify, from_text, minimal, superseders, to_text
from kedge.model.visibility import View

lineages = st.frozensets(st.integers(1, 5))


@given(lineages, st.lists(lineages, max_size=4), lineages, lineages)
def test_a_row_is_head_where_it_is_seen_and_nothing_above_it_is(
    own: Lineage, above: list[Lineage], seen: frozenset[int], settled: frozenset[int]
) -> None:
    view = View(1, seen, settled)
    found = classify(view, own, above)
    assert (found is RowClass.HIDDEN) == (not view.sees(own))
    assert (found is RowClass.HEAD) == (view.sees(own) and not any(map(view.sees, above)))


@given(lineages, st.lists(lineages, max_size=4), lineages, lineages, lineages)
def test_a_dead_row_is_head_in_no_other_view(
    own: Lineage, above: list[Lineage], seen: frozenset[int], other: frozenset[int], settled: frozenset[int]
) -> None:
    if classify(View(1, seen, settled), own, above) is RowClass.DEAD:
        assert classify(View(1, other, settled), own, above) in {RowClass.DEAD, RowClass.HIDDEN}


@given(lineages, st.lists(lineages, max_size=4), lineages, lineages)
def test_the_minimal_lineages_decide_alike(
    own: Lineage, above: list[Lineage], seen: frozenset[int], settled: frozenset[int]
) -> None:
    view = View(1, seen, settled)
    whole, least = classify(view, own, above), classify(view, own, minimal(above, settled))
    assert (whole is RowClass.HEAD) == (least is RowClass.HEAD)


def test_an_entry_is_superseded_by_what_is_above_it_and_dropped_where_that_hides_it_everywhere() -> None:
    members = {0: frozenset[int](), 1: frozenset({1}), 2: frozenset({2})}
    assert superseders([(1, 1, 0), (2, 2, 1), (3, 3, 2)], members) == {2: (), 1: (2,), 0: (2, 1)}
    assert superseders([(1, 1, 1), (2, 2, 0)], members) == {0: (), 1: None}


def test_a_table_learns_states_in_order_of_id() -> None:
    table = StateTable()
    table.learn([(1, 0, to_text([])), (2, 7, to_text((3, 4)))])
    assert (table.last, table.known[2], table.ids[7, (3, 4)]) == (2, (7, (3, 4)), 2)
    assert from_text(to_text((3, 4))) == (3, 4)
