"""The drill's comparison of two worlds: any difference shows."""

from kedge.drill.content import differ, digest, message_names
from kedge.drill.trace import Place

A, B, C = Place("context", "", "a"), Place("context", "", "b"), Place("memory", "s", "000.0")


def test_a_message_keeps_its_name_when_others_vanish_and_has_another_elsewhere() -> None:
    assert message_names(["user", "assistant", "user", "assistant"]) == ["000.0", "000.1", "001.0", "001.1"]
    assert message_names(["user", "user", "assistant"]) == ["000.0", "001.0", "001.1"]
    assert message_names(["assistant", "user", "assistant", "assistant"]) == ["-01.1", "000.0", "000.1", "000.2"]


def test_every_kind_of_difference_is_found_unless_left_out() -> None:
    found = differ({A: 1, B: 2}, {B: 3, C: 4})
    assert (found.only_left, found.only_right, found.changed, found.compared) == ([A], [C], [B], 3)
    assert found.count == 3
    assert differ({A: 1, B: 2}, {B: 3, C: 4}, leave_out=frozenset({A, B, C})).count == 0
    assert differ({A: None}, {}).only_left == [A]


def test_a_digest_depends_on_places_and_values_and_not_on_order() -> None:
    assert digest({A: 1, B: {"x": 1, "y": 2}}) == digest({B: {"y": 2, "x": 1}, A: 1})
    assert len({digest(world) for world in ({A: 1}, {A: 2}, {B: 1}, {A: 1, B: 1}, {})}) == 5
