"""The rebuildable tables: heads and counters, against brute force over the writes."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from kedge.backends.sqlite.fsck.inspection import SQL, Inspection
from kedge.backends.sqlite.fsck.keys import Place, by_key
from kedge.model.lineage import Lineage, antichain

_States = dict[int, tuple[int, list[int]]]


class _Entry(NamedTuple):
    space: int
    name: str
    lineage: int
    rank: int
    seq: int
    deleted: int


def check_heads(inspection: Inspection) -> None:
    """Check each key's heads: the newest write of every lineage, save those that a newer one hides in every view.

    An entry's state names the lineages of all that is newer at its key; what is settled counts for nothing.
    """
    states = _states(inspection)
    for key, writes, heads in by_key(inspection, "heads"):
        entries = [_Entry(*write) for write in writes]
        for place, message in _compare(inspection, key, entries, [_Entry(*head[:-1]) for head in heads]):
            inspection.report("head", place, message)
        for head in heads:
            _check_state(inspection, states.get(head[-1]), _Entry(*head[:-1]), entries)
        inspection.count("keys")
        inspection.advance(len(writes))


def _compare(inspection: Inspection, key: Place, writes: list[_Entry], heads: list[_Entry]) -> list[tuple[str, str]]:
    newest: dict[int, _Entry] = {}
    for write in writes:
        before = newest.get(write.lineage)
        if before is None or (write.rank, write.seq) > (before.rank, before.seq):
            newest[write.lineage] = write
    found = []
    present = {head.lineage for head in heads}
    for head in heads:
        truth = newest.get(head.lineage)
        if truth != head:
            actual = "no write at all" if truth is None else f"seq {truth.seq}"
            message = f"the newest of lineage {head.lineage} is {actual}, not as the heads table has it"
            found.append((inspection.place(*key, head.seq), message))
        if inspection.is_erased(head.lineage):
            found.append((inspection.place(*key, head.seq), "is among the heads, though it was purged"))
    for entry in newest.values():
        if entry.lineage in present or inspection.is_purged(entry.lineage):
            continue
        if not _is_dominated(inspection, entry, newest.values()):
            message = f"the newest of lineage {entry.lineage} is missing from the heads table"
            found.append((inspection.place(*key, entry.seq), message))
    return found


def _states(inspection: Inspection) -> _States:
    states: _States = {}
    for ident, lineage, text in inspection.connection.execute(SQL["states"]):
        try:
            states[ident] = (lineage, json.loads(text))
        except (ValueError, TypeError):
            continue  # the check of the table of states reports it
    return states


def _check_state(
    inspection: Inspection, state: tuple[int, list[int]] | None, head: _Entry, writes: list[_Entry]
) -> None:
    """Check that a head's state names what supersedes it; nobody sees what was purged: it may be named or not."""
    where = inspection.place(head.space, head.name, head.seq)
    if state is None:
        inspection.report("head", where, "its state is not in the table of states")
        return
    lineage, superseders = state
    above = {write.lineage for write in writes if (write.rank, write.seq) > (head.rank, head.seq)}
    if lineage != head.lineage or _minimal(inspection, superseders) != _minimal(inspection, above):
        message = f"its state is {state}, the journal has lineages {sorted(above)} above lineage {head.lineage}"
        inspection.report("head", where, message)


def _minimal(inspection: Inspection, lineages: Iterable[int]) -> set[Lineage]:
    known = [other for other in lineages if other in inspection.lineages and not inspection.is_purged(other)]
    return set(antichain(inspection.effective(other) for other in known))


def _is_dominated(inspection: Inspection, entry: _Entry, others: Any) -> bool:
    """Say whether a newer write is visible wherever this one is."""
    own = inspection.effective(entry.lineage) if entry.lineage in inspection.lineages else frozenset()
    return any(
        (other.rank, other.seq) > (entry.rank, entry.seq)
        and other.lineage in inspection.lineages
        and inspection.effective(other.lineage) <= own
        for other in others
    )


def check_counters(inspection: Inspection) -> None:
    """Compare the counters with the writes; left out where only a sample is asked for and the journal is long."""
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
