"""Lineages, and the tables that refer to turns, writes and lineages."""

import json
from itertools import groupby

import msgspec

from kedge.backends.sqlite.fsck.inspection import SQL, Inspection
from kedge.model import reads as read_logs


def check_lineages(inspection: Inspection) -> None:
    """Check that lineages are sorted sets of numbers that exist, and that the table of members agrees."""
    listed = {
        lineage: [number for _, number in rows]
        for lineage, rows in groupby(inspection.connection.execute(SQL["lineage_members"]), key=lambda row: row[0])
    }
    known = range(1, inspection.record.next_number)
    for ident, text in inspection.connection.execute(SQL["lineages"]):
        where = f"lineage {ident}"
        inspection.count("lineages")
        rows = listed.pop(ident, [])
        try:
            members = json.loads(text)
        except (ValueError, TypeError):
            inspection.report("lineage", where, f"its members {text!r} cannot be read")
            continue
        if text != json.dumps(sorted(set(members))):
            inspection.report("lineage", where, f"its members {text} are not a set in order")
        if (ident == 0) != (not members):
            inspection.report("lineage", where, f"has the members {text}; lineage 0 alone is the empty set")
        if rows != members:
            inspection.report("lineage", where, f"has the members {text}, but the table of members says {rows}")
        strange = [number for number in members if number not in known]
        if strange:
            inspection.report("lineage", where, f"holds {strange}, which no deployment has")
    for ident, rows in listed.items():
        inspection.report("lineage", f"lineage {ident}", f"is not there, but the table of members gives it {rows}")


def check_turns(inspection: Inspection) -> None:
    """Check the lineages of turns, what they read, whom they called, and which inputs were replayed."""
    for uid, lineage in inspection.connection.execute(SQL["turns"]):
        inspection.report("turn", f"turn {uid}", f"lineage {lineage} is not in the lineage table")
    if inspection.whole:
        for turn, before, packed, has_turn in inspection.connection.execute(SQL["reads"]):
            inspection.count("read logs")
            _check_reads(inspection, f"reads of turn {turn} before seq {before}", packed, has_turn=bool(has_turn))
    for ident, turn, has_turn, has_lineage in inspection.connection.execute(SQL["edges"]):
        inspection.count("edges")
        if not (has_turn and has_lineage):
            inspection.report("edge", f"edge {ident}", f"its turn {turn} or its lineage is not there")
    for seq, source, has_turn in inspection.connection.execute(SQL["replayed"]):
        inspection.count("replayed")
        if not (source and has_turn):
            inspection.report(
                "replayed", f"seq {seq}", "is no source write, or was replayed for a turn that is not there"
            )


def _check_reads(inspection: Inspection, where: str, packed: bytes, *, has_turn: bool) -> None:
    try:
        reads = read_logs.unpack(packed)
    except (msgspec.DecodeError, TypeError) as error:
        inspection.report("reads", where, f"cannot be read: {error}")
        return
    latest = max([*reads.seqs, *(r.at_seq for r in reads.ranges)], default=0)
    if not has_turn:
        inspection.report("reads", where, "the turn is not there")
    if latest > inspection.last_seq:
        inspection.report("reads", where, f"it read seq {latest}; the journal ends at {inspection.last_seq}")


def check_cache_and_metrics(inspection: Inspection) -> None:
    """Check idempotency keys, metric samples and the cache."""
    for key, seq, count, found, turns, has_lineage in inspection.connection.execute(SQL["idempotency"]):
        inspection.count("idempotency keys")
        if (found, turns) != (count, 1) or not has_lineage:
            inspection.report(
                "idempotency", f"key {key!r}", f"{count} writes from seq {seq} on are not those of one turn"
            )
    for ident, metric, value, seen, has_lineage in inspection.connection.execute(SQL["observations"]):
        inspection.count("observations")
        try:
            json.loads(value), json.loads(seen)
        except (ValueError, TypeError):
            inspection.report("observation", f"{metric} {ident}", "cannot be read")
        if not has_lineage:
            inspection.report("observation", f"{metric} {ident}", "its lineage is not in the lineage table")
    for key, has_lineage, has_size in inspection.connection.execute(SQL["cache"]):
        inspection.count("cache entries")
        if not (has_lineage and has_size):
            inspection.report("cache", f"key {key}", "its lineage is not there, or its size is not as counted")
