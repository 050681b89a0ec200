"""Repeated calls, decided from values: which of several earlier calls with a key counts."""

from __future__ import annotations

from typing import Any

import pytest

from kedge.errors import IdempotencyMismatch
from kedge.model.lineage import EMPTY, Lineage
from kedge.model.repeats import repeated
from kedge.model.writes import Author, Batch, Key, Pending, digest, encode

SALT = b"s" * 16
BAD = frozenset({7})


def batch(value: object, **options: Any) -> Batch:
    write = Pending(Key("context", "", "a"), encode(value, "a"))
    return Batch(epoch=1, author=Author("me"), writes=(write,), lineage=EMPTY, idempotency="call", **options)


def call(seq: int, value: object, *, erased: bool = False, lineage: Lineage = EMPTY) -> list[tuple[Any, ...]]:
    content = digest(SALT, encode(value, "a"))
    return [(seq, 1, "a", content, None if erased else SALT, False, int(bool(lineage)), "other")]


def found(asked: Batch, *calls: list[tuple[Any, ...]]) -> list[int] | None:
    answer = repeated(asked, calls, lambda ident: BAD if ident else EMPTY, lambda *_: 1)
    return None if answer is None else answer.seqs


def test_the_newest_call_of_the_same_content_counts() -> None:
    assert found(batch("x"), call(9, "y"), call(5, "x"), call(3, "x")) == [5]
    assert found(batch("x")) is None


def test_a_call_whose_content_was_erased_is_a_repeat_unless_another_is_equal() -> None:
    assert found(batch("x"), call(9, "y"), call(5, "lost", erased=True)) == [5]
    assert found(batch("x"), call(9, "lost", erased=True), call(5, "x")) == [5]


def test_another_content_is_a_conflict_that_names_the_newest_call() -> None:
    with pytest.raises(IdempotencyMismatch, match="at seq 9"):
        found(batch("x"), call(9, "y"), call(5, "z"))


def test_a_hidden_part_is_a_conflict_unless_another_call_is_whole() -> None:
    with pytest.raises(IdempotencyMismatch, match="a rollback hid some"):
        found(batch("x"), call(9, "y"), call(5, "x", lineage=BAD))
    assert found(batch("x"), call(9, "x", lineage=BAD), call(5, "x")) == [5]


def test_a_replayed_call_takes_the_newest_whatever_it_says() -> None:
    assert found(batch("x", first_wins=True), call(9, "y"), call(5, "x")) == [9]


def test_only_the_compared_writes_decide() -> None:
    first, more = call(5, "x"), [(6, 1, "b", b"", SALT, False, 0, "other")]
    assert found(batch("x", compared=1), first + more) == [5, 6]
    with pytest.raises(IdempotencyMismatch):
        found(batch("x"), first + more)
    with pytest.raises(IdempotencyMismatch):
        found(batch("y", compared=1), first + more)
