"""Checks of lineages, states and heads, by brute force over the writes of each key."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from kedge.model import reads as read_logs
from kedge.model.fsck.inspection import Inspection

Place = tuple[int, str]  # the id of a space, and a name


class Entry(NamedTuple):
    """A write or a head of one key."""

    lineage: int
    rank: int
    seq: int
    deleted: bool


def check_lineages(
    inspection: Inspection, rows: Iterable[tuple[int, str]], listed: Mapping[int, Sequence[int]]
) -> None:
    """Check that lineages are sorted sets of numbers that exist, and that the table of members agrees.

    Rows are (id, members as JSON); `listed` has the members in order, by id.
    """
    known = range(1, inspection.record.next_number)
    stray = dict(listed)
    for ident, text in rows:
        where = f"lineage {ident}"
        inspection.count("lineages")
        there = stray.pop(ident, [])
        try:
            members = json.loads(text)
        except (ValueError, TypeError):
            inspection.report("lineage", where, f"its members {text!r} cannot be read")
            continue
        if text != json.dumps(sorted(set(members))):
            inspection.report("lineage", where, f"its members {text} are not a set in order")
        if (ident == 0) != (not members):
            inspection.report("lineage", where, f"has the members {text}; lineage 0 alone is the empty set")
        if list(there) != members:
            inspection.report("lineage", where, f"has the members {text}, but the table of members says {there}")
        strange = [number for number in members if number not in known]
        if strange:
            inspection.report("lineage", where, f"holds {strange}, which no deployment has")
    for ident, there in stray.items():
        inspection.report("lineage", f"lineage {ident}", f"is missing, but the table of members gives it {there}")


def check_seen_sets(inspection: Inspection, rows: Iterable[tuple[int, str]]) -> None:
    """Check that the sets of deployments that turns saw are in order and hold numbers that exist; 0 is empty."""
    for ident, text in rows:
        inspection.count("seen sets")
        try:
            members = json.loads(text)
            is_set = text == json.dumps(sorted(set(members)))
            is_known = all(0 < number < inspection.record.next_number for number in members)
        except (ValueError, TypeError):
            is_set = is_known = False
        if not is_set or not is_known or (ident == 0) != (text == "[]"):
            inspection.report(
                "turn", f"seen set {ident}", f"its members {text!r} are not a set of deployments in order"
            )


def check_heads(inspection: Inspection, key: Place, writes: Sequence[Entry], heads: Iterable[Any]) -> None:
    """Check one key's heads: the newest write of every lineage, unless a newer one hides it in every view.

    Heads are (lineage, rank, seq, deleted, state).
    """
    newest: dict[int, Entry] = {}
    for write in sorted(writes, key=lambda w: (w.rank, w.seq)):
        newest[write.lineage] = write
    present: set[int] = set()
    for *fields, state in heads:
        head = Entry(*fields)
        present.add(head.lineage)
        where = inspection.place(*key, head.seq)
        truth = newest.get(head.lineage)
        if truth != head:
            actual = "no write" if truth is None else f"seq {truth.seq}"
            message = f"the newest of lineage {head.lineage} is {actual}; the table of heads has another"
            inspection.report("head", where, message)
        if inspection.is_erased(head.lineage):
            inspection.report("head", where, "is a head, though it was purged")
        check_state(inspection, "head", where, state, head, writes)
    for entry in newest.values():
        is_left_out = entry.lineage in present or inspection.is_purged(entry.lineage)
        if not is_left_out and not _is_dominated(inspection, entry, newest.values()):
            message = f"the newest of lineage {entry.lineage} is missing from the table of heads"
            inspection.report("head", inspection.place(*key, entry.seq), message)


def check_state(inspection: Inspection, kind: str, where: str, state: int, own: Entry, writes: Iterable[Entry]) -> None:
    """Check that a state names the lineages that supersede a write. It may name purged ones: no view sees them.

    A contested state names none: the heads of the key decide, whatever they are.
    """
    if state not in inspection.states:
        inspection.report(kind, where, f"its state {state} is not in the table of states")
        return
    lineage, superseders = inspection.states[state]
    above = {write.lineage for write in writes if (write.rank, write.seq) > (own.rank, own.seq)}
    if kind == "head" and superseders is None and all(map(inspection.is_erased, above)):
        inspection.report(kind, where, "it is contested, and nothing supersedes it; reads of ranges may leave it out")
    if lineage != own.lineage or not inspection.are_alike(lineage, superseders, above):
        message = f"its state is {(lineage, superseders)}, the journal has {sorted(above)} above lineage {own.lineage}"
        inspection.report(kind, where, message)


def _is_dominated(inspection: Inspection, entry: Entry, others: Iterable[Entry]) -> bool:
    """Return whether a newer write is visible in every view that sees this one."""
    lineages, settled = inspection.lineages, inspection.record.settled
    own = lineages.get(entry.lineage, frozenset()) - settled
    return any(
        (other.rank, other.seq) > (entry.rank, entry.seq)
        and other.lineage in lineages
        and lineages[other.lineage] - settled <= own
        for other in others
    )


def check_reads(inspection: Inspection, turn: int, before: int, packed: bytes) -> None:
    """Check that a read log can be read, and names no seq after the end of the journal."""
    inspection.count("read logs")
    where = f"reads of turn {turn} before seq {before}"
    try:
        reads = read_logs.unpack(packed)
    except (msgspec.DecodeError, TypeError) as error:
        inspection.report("reads", where, f"cannot be read: {error}")
        return
    latest = max([*reads.seqs, *(r.at_seq for r in reads.ranges)], default=0)
    if latest > inspection.last_seq:
        inspection.report("reads", where, f"it read seq {latest}; the journal ends at {inspection.last_seq}")
