"""Which class a row has in a view, and which lineages supersede a row."""

from hypothesis import given
from hypothesis import strategies as st

from kedge.model.lineage import EMPTY, Lineage
from kedge.model.states import (
    CONTESTED,
    DEAD,
    PLAIN,
    Above,
    Entry,
    RowClass,
    Rule,
    StateTable,
    classify,
    from_text,
    is_dead,
    minimal,
    restated,
    to_text,
)
from kedge.model.visibility import View

PLAIN_ROW: Above = ()
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


@given(lineages, st.lists(lineages, max_size=5), lineages, lineages, st.booleans())
def test_a_state_decides_like_all_that_supersedes_its_rows(
    own: Lineage, by: list[Lineage], seen: frozenset[int], settled: frozenset[int], contests: bool
) -> None:
    """Until it is contested: then it decides nothing."""
    rule, view, above = Rule(settled, contests), View(1, seen, settled), PLAIN_ROW
    for members in by:
        above = rule.superseded(own, above, [members])
    truth, found = classify(view, own, by), classify(view, own, above)
    assert found in {truth, RowClass.CONTESTED}
    assert contests or found is not RowClass.CONTESTED
    if found is RowClass.CONTESTED:
        assert len(minimal(by, settled)) > 1


@given(
    st.lists(st.tuples(lineages, st.integers(0, 3)), max_size=8), lineages, lineages, st.booleans(), st.integers(1, 8)
)
def test_heads_restated_write_by_write_decide_like_all_writes(
    writes: list[tuple[Lineage, int]], seen: frozenset[int], settled: frozenset[int], contests: bool, settled_at: int
) -> None:
    """Writes rank below their seqs, as replayed ones do; deployments settle on the way."""
    states: list[Above] = []
    heads: dict[Lineage, Entry] = {}
    numbers: dict[Lineage, int] = {}
    for seq, (lineage, delay) in enumerate(writes, start=1):
        number = numbers.setdefault(lineage, len(numbers))
        rank = max(1, seq - delay)
        there = heads.get(lineage)
        if there is None or (rank, seq) > there[:2]:
            heads[lineage] = Entry(rank, seq, number, len(states), is_new=True)
            states.append(PLAIN_ROW)
        rule = Rule(settled if seq >= settled_at else EMPTY, contests)
        members = {number: some for some, number in numbers.items()}
        ordered = sorted(heads.values(), reverse=True)
        for changed, above in restated(ordered, members.__getitem__, states.__getitem__, rule).items():
            if is_dead(above):
                del heads[members[changed]]
            else:
                heads[members[changed]] = heads[members[changed]]._replace(state=len(states))
                states.append(above)
        heads = {lineage: head._replace(is_new=False) for lineage, head in heads.items()}
    if not heads:
        assert not writes
        return
    now = settled if len(writes) >= settled_at else EMPTY
    view = View(1, seen, now)
    ranked = sorted(((max(1, s - d), s, lineage) for s, (lineage, d) in enumerate(writes, start=1)), reverse=True)
    truth = next((seq for _, seq, lineage in ranked if view.sees(lineage)), None)
    visible = [head for lineage, head in heads.items() if view.sees(lineage)]
    assert max((head[:2] for head in visible), default=(0, None))[1] == truth
    for lineage, head in heads.items():
        row_class = classify(view, lineage, states[head.state])
        if row_class is not RowClass.CONTESTED:
            assert (row_class is RowClass.HEAD) == (head.seq == truth)
    assert states[max(heads.values()).state] == PLAIN_ROW, "the newest head of a key is not contested"


def test_the_heads_of_a_chain_are_not_visited() -> None:
    """Each release rests on the one before, so that the newest head alone is superseded by a new one."""
    members = {number: frozenset(range(1, number + 1)) for number in range(1, 101)}
    heads = [Entry(number, number, number, number, is_new=number == 100) for number in range(100, 0, -1)]
    visited: list[int] = []

    def members_of(lineage: int) -> Lineage:
        visited.append(lineage)
        return members[lineage]

    assert restated(heads, members_of, lambda _: (), Rule(EMPTY, contests=True)) == {99: [members[100]]}
    assert visited == [100, 99]


def test_a_row_superseded_twice_is_contested_and_a_row_superseded_everywhere_is_dead() -> None:
    a, b, ab = frozenset({1}), frozenset({2}), frozenset({1, 2})
    rule = Rule(EMPTY, contests=True)
    assert rule.superseded(EMPTY, (), [a]) == [a]
    assert rule.superseded(EMPTY, [ab], [a]) == [a]
    assert rule.superseded(EMPTY, [a], [b]) is None
    assert rule.superseded(EMPTY, None, [ab]) is None
    assert rule.superseded(ab, None, [a]) == (EMPTY,)
    assert rule.superseded(a, [b], [EMPTY]) == (EMPTY,)
    assert set(Rule(EMPTY, contests=False).superseded(EMPTY, [a], [b]) or ()) == {a, b}
    assert Rule(frozenset({2}), contests=True).superseded(a, (), [ab]) == (EMPTY,)


def test_a_table_learns_states_in_any_order_of_id() -> None:
    table = StateTable()
    table.learn([(9, 7, to_text(CONTESTED)), (2, 7, to_text((3, 4)))])
    assert (table.last, table.known, table.lasting) == (9, {9: (7, None), 2: (7, (3, 4))}, {(7, None): 9})
    assert [from_text(to_text(some)) for some in (PLAIN, DEAD, CONTESTED, (3, 4))] == [(), (0,), None, (3, 4)]
