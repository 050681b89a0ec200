"""Which head a view sees, and which messages a rollback retracts."""

from collections.abc import Sequence
from typing import Any

from kedge.model.heads import choose, first_values, retracted, seen_messages
from kedge.model.lineage import Lineage
from kedge.model.ranges import Span
from kedge.model.visibility import View
from kedge.model.writes import Head, Key, encode

MEMBERS: dict[int, Lineage] = {0: frozenset(), 1: frozenset({1})}
KEY = Key("memory", "s", "k")


def row(lineage: int, rank: int, seq: int) -> tuple[Any, ...]:
    return lineage, rank, seq, 0, 0, 0.0, None, None


def head(name: str, seq: int, *, rank: int = 0, deleted: bool = False) -> Head:
    return Head(Key("memory", "s", name), seq, rank or seq, deleted, 0, frozenset())


def test_the_greatest_visible_rank_and_seq_is_chosen() -> None:
    rows = [row(0, 1, 5), row(1, 2, 2)]
    unseen, seen = View(1, frozenset(), frozenset()), View(1, frozenset({1}), frozenset())
    assert [h and h.seq for h in (choose(KEY, rows, v, MEMBERS.__getitem__) for v in (unseen, seen))] == [5, 2]
    assert choose(KEY, rows[1:], unseen, MEMBERS.__getitem__) is None


def test_names_are_read_backwards_until_enough_puts_are_visible() -> None:
    names = ["a", "b", "c", "d", "e"]
    heads = {"a": head("a", 1), "b": head("b", 2), "d": head("d", 4, deleted=True)}

    def names_in(span: Span, _: int) -> Sequence[str]:
        return [name for name in reversed(names) if span.holds(name)][:2]

    def heads_of(asked: Sequence[str]) -> dict[str, Head]:
        return {name: heads[name] for name in asked if name in heads}

    found = first_values(Span(high="z", limit=1, reverse=True), 7, names_in, heads_of)
    assert ([h.seq for h in found.heads], found.tombstones, found.at_seq) == ([2], frozenset({frozenset()}), 7)


def test_a_message_is_retracted_where_it_was_seen_and_has_no_put_as_its_head() -> None:
    said = encode({"role": "user", "text": "hi"})
    rows = [
        ("a", 1, 0, 0, said),
        ("b", 2, 1, 0, None),
        ("c", 3, 0, 1, None),
        ("d", 4, 0, 0, said),
        ("e", 5, 1, 0, said),
    ]
    seen = seen_messages(rows, MEMBERS.__getitem__, lambda lineage: not lineage)
    assert seen == {"a": ("user", 1), "d": ("user", 4)}
    assert retracted(seen, {"d": head("d", 4)}) == [("a", "user", 1)]
    assert retracted(seen, {"a": head("a", 1), "d": head("d", 6, deleted=True)}) == [("d", "user", 4)]
