"""Checks of the rebuildable tables: heads and counters, against brute force over the writes."""

from kedge.backends.sqlite.fsck.inspection import SQL, Inspection
from kedge.backends.sqlite.fsck.keys import by_key
from kedge.model.fsck import keys
from kedge.model.fsck.keys import Entry


def check_heads(inspection: Inspection) -> None:
    """Check the heads of every key, or of those that the sample touches."""
    for key, writes, heads in by_key(inspection, "heads"):
        entries = [Entry(*write[2:]) for write in writes]
        keys.check_heads(inspection, key, entries, (head[2:] for head in heads))
        inspection.count("keys")
        inspection.advance(len(writes))


def check_counters(inspection: Inspection) -> None:
    """Compare the counters with the writes; a sample of a long journal leaves it out."""
    if not inspection.whole:
        return
    counted = {row[:2]: row[2:] for row in inspection.connection.execute(SQL["counters"])}
    actual = {row[:2]: row[2:] for row in inspection.connection.execute(SQL["true_counters"])}
    for space, lineage in sorted(counted.keys() | actual.keys()):
        inspection.count("counters")
        has, should = counted.get((space, lineage), (0, 0)), actual.get((space, lineage), (0, 0))
        if has != should:
            store, within = inspection.spaces.get(space, ("?", f"#{space}"))
            inspection.report(
                "counter", f"{store}:{within}", f"lineage {lineage}: {has} puts and deletes counted, {should} are there"
            )
