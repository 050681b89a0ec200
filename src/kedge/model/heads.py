"""Heads of keys: decoding of rows, the choice of the visible one, and the messages that a rollback retracts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from kedge.model.lineage import Lineage
from kedge.model.ranges import Span
from kedge.model.visibility import View
from kedge.model.writes import Head, Key, decode

_NAMES_AT_ONCE = 32
Members = Callable[[int], Lineage]  # the set behind the id of a lineage


class Range(msgspec.Struct, frozen=True):
    """The visible heads of a range that are puts, and the lineages of those that are deletes."""

    heads: list[Head]
    tombstones: frozenset[Lineage]
    at_seq: int


def decode_head(key: Key, row: Sequence[Any], members: Members) -> Head:
    """Return a head from its row: lineage, rank, seq, deleted, source, at, fresh_for, payload."""
    lineage, rank, seq, deleted, source, at, fresh_for, payload = row
    return Head(key, seq, rank, bool(deleted), lineage, members(lineage), bool(source), at, fresh_for, payload)


def choose(key: Key, rows: Iterable[Any], view: View, members: Members) -> Head | None:
    """Return the head that a view sees at a key, given the rows of the heads of all lineages."""
    best: Any = None
    for row in rows:
        if (best is None or row[1:3] > best[1:3]) and view.sees(members(row[0])):
            best = row
    return None if best is None else decode_head(key, best, members)


def first_visible(heads: Iterable[tuple[str, int]], view: View, members: Members) -> list[tuple[str, int]]:
    """Return the first pair of each name, of (name, lineage) ordered by name, whose lineage a view sees."""
    chosen: list[tuple[str, int]] = []
    last: str | None = None
    for name, lineage in heads:
        if name != last and view.sees(members(lineage)):
            chosen.append((name, lineage))
            last = name
    return chosen


def range_of(names: Iterable[str], found: Mapping[str, Head], at_seq: int) -> Range:
    """Return the range of these names in order, given the heads that were found, deletes included."""
    heads = [found[name] for name in names if name in found]
    deleted = frozenset(head.lineage for head in heads if head.deleted)
    return Range([head for head in heads if not head.deleted], deleted, at_seq)


def first_values(
    span: Span,
    at_seq: int,
    names_in: Callable[[Span, int], Sequence[str]],
    heads_of: Callable[[Sequence[str]], Mapping[str, Head]],
) -> Range:
    """Return the first visible puts of a limited range, in its order, and the deletes among them.

    `names_in` returns so many names of a range that were ever written, in its order.
    """
    heads: list[Head] = []
    deleted: set[Lineage] = set()
    limit = span.limit or 0
    while len(heads) < limit and (names := names_in(span, max(limit, _NAMES_AT_ONCE))):
        found = heads_of(names)
        for head in (found[name] for name in names if name in found):
            if head.deleted:
                deleted.add(head.lineage)
            else:
                heads.append(head)
            if len(heads) == limit:
                break
        span = span.after(names[-1])
    return Range(heads, frozenset(deleted), at_seq)


def newest_messages(view: View, limit: int | None) -> Span:
    """Return the range of a history: the newest `limit` messages, backwards, or all of them."""
    if limit is None:
        return Span()
    bounds = view.bounds("memory")
    return Span(high=None if bounds is None else f"{bounds[1] + 1:016x}", limit=limit, reverse=True)  # by rank


def oldest_first(found: Range, limit: int | None) -> Range:
    """Return the messages of a history with a limit in their order."""
    return found if limit is None else Range(found.heads[::-1], found.tombstones, found.at_seq)


def seen_messages(
    rows: Iterable[Any], members: Members, was_seen: Callable[[Lineage], bool]
) -> dict[str, tuple[str, int]]:
    """Return (role, seq) by name of the messages that were seen, from rows: name, seq, lineage, deleted, payload."""
    return {
        name: ("" if payload is None else decode(payload)["role"], seq)
        for name, seq, lineage, deleted, payload in rows
        if not deleted and was_seen(members(lineage))
    }


def retracted(seen: Mapping[str, tuple[str, int]], heads: Mapping[str, Head]) -> list[tuple[str, str, int]]:
    """Return (name, role, seq) of the seen messages that have no head any more, or a delete."""
    return [(name, role, seq) for name, (role, seq) in seen.items() if name not in heads or heads[name].deleted]
