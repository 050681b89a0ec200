"""Comparison of two databases: all written rows, and the heads of every view."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

import msgspec

from kedge.model.control import ControlRecord
from kedge.model.migration import TABLES, WRITES, Record, Table, chunk_rows
from kedge.model.record_format import decode_record, encode_record
from kedge.model.transitions import compacted
from kedge.model.visibility import View
from kedge.model.writes import Head
from kedge.ports.backend import Backend
from kedge.ports.control import EpochMoved
from kedge.ports.migration import Exporter
from kedge.support.display import Report, Value

T = TypeVar("T")
Progress = Callable[[int, int], None]
_EXAMPLES = 5
_PRUNED = {"control_log", "reads", "sessions"}  # retention deletes rows of these
_DERIVED = {"heads", "counters", "states", "rows"}  # derived data: the views made from it are compared instead


class Difference(Value, frozen=True):
    """Differences in one table, or in the heads of views: counts of rows, and the keys of the first few."""

    what: str
    only_a: int
    only_b: int
    changed: int
    same: int
    examples: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether anything differs."""
        return bool(self.only_a or self.only_b or self.changed)


class StoreDiff(Report, frozen=True):
    """Differences of two databases up to `upto`, the lesser of their last seqs.

    `skipped` are the tables that cannot be compared, because one of the two databases has changed since.
    """

    a: str
    b: str
    a_seq: int
    b_seq: int
    upto: int
    views: int
    differences: tuple[Difference, ...]
    skipped: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the verdict."""
        differing = [difference.what for difference in self.differences if difference.differs]
        said = f"DIFFERENT in {', '.join(differing)}" if differing else f"the same up to seq {self.upto}"
        skipped = f"; {', '.join(self.skipped)} not compared" if self.skipped else ""
        return f"{self.a} and {self.b}: {said}{skipped}"

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not any(difference.differs for difference in self.differences)


class Side(msgspec.Struct, frozen=True):
    """One of the two databases: its ports, and the exporter of its rows."""

    backend: Backend
    exporter: Exporter


def compare(a: Side, b: Side, progress: Progress | None = None) -> StoreDiff:
    """Compare two whole databases. A copied row has the same seq and id in both."""
    a_seq, b_seq = a.exporter.last_seq(), b.exporter.last_seq()
    upto, is_level = min(a_seq, b_seq), a_seq == b_seq
    pruned = a.exporter.identity().pruned == b.exporter.identity().pruned
    found = [_compare_identities(a, b, is_level=is_level), _compare_writes(a, b, upto, progress)]
    if is_level:
        found.append(_compare_rows("control record", 1, [_record(a)], [_record(b)]))
    skipped = []
    for table in TABLES.values():
        if table.name in _DERIVED:
            continue
        if not (is_level or (table.lasting and (pruned or table.name not in _PRUNED))):
            skipped.append(table.name)
            continue
        rows = (_upto(side.exporter.rows(table), table, upto) for side in (a, b))
        ahead = "" if is_level or table.bound else "a" if a_seq > b_seq else "b"
        found.append(_compare_rows(table.name, table.key, *rows, ahead=ahead))
    views, heads = _compare_views(a, b, upto, is_level=is_level)
    return StoreDiff(a.exporter.url, b.exporter.url, a_seq, b_seq, upto, views, (*found, *heads), tuple(skipped))


def _compare_identities(a: Side, b: Side, *, is_level: bool) -> Difference:
    """Compare ids and the keys that sign headers; a difference names them only, without the secret."""
    rows = [
        [
            ("database_id", identity.database_id),
            ("header_key", identity.header_key),
            ("pruned", identity.pruned if is_level else None),
            ("reclaimed", identity.reclaimed),
        ]
        for identity in (a.exporter.identity(), b.exporter.identity())
    ]
    return _compare_rows("identity", 1, *rows)


# ── rows ──


def _record(side: Side) -> Record:
    """Return the control record with its epoch, in the form of a finished upgrade."""
    epoch, encoded = side.exporter.record()
    return epoch, encode_record(compacted(decode_record(encoded)))


def _compare_writes(a: Side, b: Side, upto: int, progress: Progress | None) -> Difference:
    dims = [row[3] for side in (a, b) for row in side.exporter.embeddings()]
    limit = chunk_rows(dims)

    def writes(side: Side) -> Iterator[Record]:
        after = 0
        while chunk := side.exporter.writes(after, upto, limit):
            yield from chunk
            after = chunk[-1][0]
            if progress is not None and side is a:
                progress(after, upto)

    return _compare_rows("writes", WRITES.key, writes(a), writes(b))


def _upto(rows: Iterable[Record], table: Table, upto: int) -> Iterator[Record]:
    at = None if table.bound is None else table.at(table.bound)
    return (row for row in rows if at is None or row[at] <= upto)


def _compare_rows(
    what: str, key: int, a_rows: Iterable[Record], b_rows: Iterable[Record], *, ahead: str = ""
) -> Difference:
    """Compare two streams in order of their keys; rows that only the `ahead` one has do not differ."""
    only_a = only_b = changed = same = 0
    examples: list[str] = []
    for left, right in _paired(iter(a_rows), iter(b_rows), key):
        if left == right:
            same += 1
            continue
        if (right is None and ahead == "a") or (left is None and ahead == "b"):
            continue
        only_a, only_b = only_a + (right is None), only_b + (left is None)
        changed += left is not None and right is not None
        if len(examples) < _EXAMPLES:
            examples.append(_shown_key(left or right or (), key))
    return Difference(what, only_a, only_b, changed, same, tuple(examples))


def _paired(a: Iterator[Record], b: Iterator[Record], key: int) -> Iterator[tuple[Record | None, Record | None]]:
    left, right = next(a, None), next(b, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left[:key] < right[:key]):
            yield left, None
            left = next(a, None)
        elif left is None or right[:key] < left[:key]:
            yield None, right
            right = next(b, None)
        else:
            yield left, right
            left, right = next(a, None), next(b, None)


def _shown_key(row: Record, key: int) -> str:
    return " ".join(f"{part:.40}" if isinstance(part, str) else _shown_value(part) for part in row[:key])


def _shown_value(value: Any) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes) else f"{value!s:.40}"


# ── views ──


def _compare_views(a: Side, b: Side, upto: int, *, is_level: bool) -> tuple[int, list[Difference]]:
    """Compare the heads of every view: of a new session, of each deployment and of each session that began."""
    record = a.backend.control.record_at(upto)
    sessions = TABLES["sessions"]
    bases = {row[sessions.at("base")] for row in a.exporter.rows(sessions) if row[sessions.at("seq")] <= upto}
    seen = {record.live} | {record.seen_by(frozenset(base)) for base in bases}
    seen |= {record.seen_by(record.live | record.closure({number})) for number in record.revocable}
    differences = []
    for number, one in enumerate(sorted(seen, key=sorted)):
        then = None if is_level else View(record.epoch, one, record.settled, upto)  # a past view is slower to read
        what = f"heads seen by {sorted(one)}" + ("" if is_level else f" at seq {upto}")
        differences.append(_compare_rows(what, 3, _heads(a, one, then), _heads(b, one, then)))
        if is_level:
            differences.append(_compare_rows(f"vectors found by view {number}", 3, _found(a, one), _found(b, one)))
    return len(seen), _summed(differences)


def _summed(differences: list[Difference]) -> list[Difference]:
    """Return the views that differ, and one entry that counts the equal heads."""
    same = Difference("heads", 0, 0, 0, sum(difference.same for difference in differences))
    return [same, *(difference for difference in differences if difference.differs)]


def _heads(side: Side, seen: frozenset[int], then: View | None) -> Iterator[Record]:
    """Yield the heads of a view, present or past, space by space."""
    journal = side.backend.journal
    for place in [(store, space) for store in journal.stores() for space in sorted(journal.spaces(store))]:
        for head in _at_one_epoch(side, partial(_heads_in, side, place, seen, then)):
            lineage = sorted(head.lineage)
            yield (*place, head.key.name, head.seq, head.rank, lineage, head.source, head.at, head.fresh_for)


def _heads_in(
    side: Side, place: tuple[str, str], seen: frozenset[int], then: View | None, record: ControlRecord
) -> list[Head]:
    view = View(record.epoch, seen, record.settled) if then is None else then
    return side.backend.journal.range(view, *place, payloads=False).heads


def _found(side: Side, seen: frozenset[int]) -> list[Record]:
    """Return the rows that a search covers, by collection and embedding space."""
    index = side.backend.vectors
    spaces = sorted({(collection, space) for _, collection, space, _ in side.exporter.embeddings()})
    known = {collection.name: collection for collection in index.collections()}
    return _at_one_epoch(
        side,
        lambda record: [
            (collection, space, seq)
            for collection, space in spaces
            if collection in known
            for seq in sorted(
                index.space_heads(View(record.epoch, seen, record.settled), known[collection], space).seqs.tolist()
            )
        ],
    )


def _at_one_epoch(side: Side, look: Callable[[ControlRecord], list[T]]) -> list[T]:
    """Return the result of `look`, retried with a newer control record when the epoch moves."""
    while True:
        try:
            return look(side.backend.control.load())
        except EpochMoved:
            continue
