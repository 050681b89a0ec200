"""Comparison of what readers get with the truth, computed from all writes to a key."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from kedge.model.lineage import EMPTY, Lineage
from kedge.model.visibility import View, newest
from kedge.model.writes import Head, Key

Seen = tuple[int, Lineage]  # the seq and lineage of a head


class KeyCheck(msgspec.Struct, frozen=True):
    """What readers get at a key (seq and lineage), and the seq that they should get; None: nothing."""

    key: Key
    seq: int | None
    lineage: Lineage
    truth: int | None


def true_head(view: View, key: Key, rows: Iterable[Sequence[Any]]) -> Head | None:
    """Return the newest visible write among all rows of a key.

    A row is (lineage id, rank, seq, deleted, source, at, fresh_for, payload, members of the lineage as JSON).
    """
    heads = []
    for lineage_id, rank, seq, deleted, source, at, fresh_for, payload, members in rows:
        lineage = frozenset(json.loads(members))
        if view.sees(lineage) and (view.upto is None or seq <= view.upto):
            heads.append(Head(key, seq, rank, bool(deleted), lineage_id, lineage, bool(source), at, fresh_for, payload))
    return newest(heads)


def compare(keys: Iterable[Key], read: Iterable[Seen | None], truths: Iterable[int | None]) -> list[KeyCheck]:
    """Return the checks of keys, from what readers get and the seqs of the true heads, in the same order."""
    return [
        KeyCheck(key, None, EMPTY, truth) if seen is None else KeyCheck(key, *seen, truth)
        for key, seen, truth in zip(keys, read, truths, strict=True)
    ]


def spread(last: int, count: int, *, after: int = 0) -> list[int]:
    """Return `count` seqs after `after`, spread evenly, the last one included."""
    return [last - position * (last - after) // count for position in range(count)][::-1]


def keys_in(rows: Iterable[Sequence[str]], stores: Iterable[str]) -> list[Key]:
    """Return the keys of rows (store, space, name) that are in one of these stores, each once, in order."""
    wanted = set(stores)
    return list(dict.fromkeys(Key(*row) for row in rows if row[0] in wanted))
