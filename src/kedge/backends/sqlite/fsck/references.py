"""Checks of lineages, and of the tables that refer to turns, writes and lineages."""

import json
from itertools import groupby

from kedge.backends.sqlite.fsck.inspection import SQL, Inspection
from kedge.model.fsck import keys


def check_lineages(inspection: Inspection) -> None:
    """Check that lineages are sorted sets of numbers that exist, and that the table of members agrees."""
    listed = {
        lineage: [number for _, number in rows]
        for lineage, rows in groupby(inspection.connection.execute(SQL["lineage_members"]), key=lambda row: row[0])
    }
    keys.check_lineages(inspection, inspection.connection.execute(SQL["lineages"]), listed)


def check_turns(inspection: Inspection) -> None:
    """Check what turns refer to, what they read, whom they called, and which inputs were replayed."""
    _check_references(inspection)
    if inspection.whole:
        for turn, before, packed, has_turn in inspection.connection.execute(SQL["reads"]):
            keys.check_reads(inspection, turn, before, packed)
            if not has_turn:
                inspection.report("reads", f"reads of turn {turn} before seq {before}", "the turn is missing")
    for ident, turn, has_turn, has_lineage in inspection.connection.execute(SQL["edges"]):
        inspection.count("edges")
        if not (has_turn and has_lineage):
            inspection.report("edge", f"edge {ident}", f"its turn {turn} or its lineage is missing")
    for seq, source, has_turn in inspection.connection.execute(SQL["replayed"]):
        inspection.count("replayed")
        if not (source and (has_turn or inspection.pruned.reads)):
            inspection.report(
                "replayed", f"seq {seq}", "is not a source write, or was replayed for a turn that is missing"
            )


def _check_references(inspection: Inspection) -> None:
    for uid, lineage in inspection.connection.execute(SQL["turns"]):
        inspection.report("turn", f"turn {uid}", f"lineage {lineage} is not in the lineage table")
    for uid, seen in inspection.connection.execute(SQL["turns_seen"]):
        inspection.report("turn", f"turn {uid}", f"what it saw, set {seen}, is not in the table of seen sets")
    for uid, session in inspection.connection.execute(SQL["turns_session"]):
        inspection.report("turn", f"turn {uid}", f"its session {session!r} is not in the table of session names")
    keys.check_seen_sets(inspection, inspection.connection.execute(SQL["seen_sets"]))


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
            inspection.report("cache", f"key {key}", "its lineage is missing, or its size is wrong")
    for counted, found in inspection.connection.execute(SQL["cache_size"]):
        if counted != found:
            inspection.report("cache", "size", f"is counted as {counted} bytes, not {found}")
