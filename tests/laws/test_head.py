"""Head: of the visible writes at a key, the newest wins; where that is a delete, the key is absent."""

from __future__ import annotations

from kedge import Kedge
from tests.laws.scene import AWAY, EMPTY, VECTOR, clerk, full, helper, read_everywhere, write_everywhere


def test_the_newest_write_wins_in_every_store(k: Kedge) -> None:
    with clerk(k) as first, clerk(k) as second:
        write_everywhere(second, "earlier")
        write_everywhere(first, "later")
    assert read_everywhere(k.view(session="s")) == full("later")


def test_what_lies_under_a_hidden_write_comes_back(bad: Kedge) -> None:
    with clerk(bad) as turn:
        write_everywhere(turn, "before")
    with helper(bad) as turn:
        write_everywhere(turn, "bad")
    assert read_everywhere(bad.view(session="s")) == full("bad")
    bad.rollback("bad")
    assert read_everywhere(bad.view(session="s")) == full("before")


def test_a_good_write_over_a_bad_one_stays(bad: Kedge) -> None:
    with helper(bad) as turn:
        write_everywhere(turn, "bad")
    with clerk(bad) as turn:
        write_everywhere(turn, "corrected")
    bad.rollback("bad")
    assert read_everywhere(bad.view(session="s")) == full("corrected")


def test_a_delete_hides_and_a_hidden_delete_does_not(bad: Kedge) -> None:
    with clerk(bad) as turn:
        write_everywhere(turn, "value")
        said = turn.memory.history()[0].seq
    with helper(bad) as turn:
        turn.context.delete("key")
        turn.documents("kb").delete("key")
        turn.vectors("kb").delete(["key"])
        turn.memory.delete(said)
    assert read_everywhere(bad.view(session="s")) == EMPTY
    bad.rollback("bad")
    assert read_everywhere(bad.view(session="s")) == full("value")


def test_a_vector_that_was_overwritten_is_not_found_where_it_was(bad: Kedge) -> None:
    with clerk(bad) as turn:
        turn.vectors("kb").upsert(["a", "b"], [VECTOR, AWAY], ["old", "other"])
    with helper(bad) as turn:
        turn.vectors("kb").upsert(["a"], [AWAY], ["new"])
    assert [hit.score for hit in bad.view().vectors("kb").search(VECTOR, k=3)] == [0.0, 0.0]
    bad.rollback("bad")
    assert [hit.payload for hit in bad.view().vectors("kb").search(VECTOR, k=1)] == ["old"]
