"""The rebuildable tables: lineages, states, heads and the states of vector rows, against all writes to their keys."""

import json
from typing import Any, NamedTuple

from kedge.backends.postgres.fsck.inspection import SQL, Inspection, State

Place = tuple[int, str]


class _Entry(NamedTuple):
    lineage: int
    rank: int
    seq: int
    deleted: bool

    def is_above(self, rank: int, seq: int) -> bool:
        return (self.rank, self.seq) > (rank, seq)


def check_lineages(inspection: Inspection) -> None:
    """Check that lineages are sorted sets of numbers that exist, and that the table of members agrees."""
    listed = dict(inspection.link.rows(SQL["lineage_members"]))
    known = range(1, inspection.record.next_number)
    for ident, text in inspection.link.rows(SQL["lineages"]):
        where = f"lineage {ident}"
        inspection.count("lineages")
        members = json.loads(text)
        if text != json.dumps(sorted(set(members))):
            inspection.report("lineage", where, f"its members {text} are not a set in order")
        if (ident == 0) != (not members):
            inspection.report("lineage", where, f"has the members {text}; lineage 0 alone is the empty set")
        if listed.pop(ident, []) != members:
            inspection.report("lineage", where, f"has the members {text}, but the table of members says otherwise")
        strange = [number for number in members if number not in known]
        if strange:
            inspection.report("lineage", where, f"holds {strange}, which no deployment has")
    for ident in listed:
        inspection.report("lineage", f"lineage {ident}", "is not there, but the table of members has it")


def check_states(inspection: Inspection) -> None:
    """Check the table of states: a lineage, and the minimal set of lineages that supersede it; ids without a hole."""
    for position, (ident, lineage, text) in enumerate(inspection.link.rows(SQL["states"]), start=1):
        where = f"state {ident}"
        inspection.count("states")
        superseders = json.loads(text)
        inspection.states[ident] = (lineage, superseders)
        if ident != position:
            inspection.report("state", where, f"stands where {position} should")
        if not inspection.lineages.keys() >= {lineage, *superseders}:
            inspection.report("state", where, "names a lineage that is not in the lineage table")


def check_keys(inspection: Inspection) -> None:
    """Check the heads at every key, and the states of its vector rows, by brute force over its writes."""
    done: set[Place] = set()
    for window in inspection.windows():
        keys = [key for key in inspection.link.rows(SQL["keys"], *window) if key not in done]
        done.update(keys)
        columns = ([space for space, _ in keys], [name for _, name in keys])
        writes = _by_key(inspection.link.rows(SQL["writes_of_keys"], *columns))
        heads = _by_key(inspection.link.rows(SQL["heads_of_keys"], *columns))
        rows = _by_key(inspection.link.rows(SQL["rows_of_keys"], *columns))
        for key in writes:
            entries = [_Entry(*write) for write in writes[key]]
            _check_heads(inspection, key, entries, heads.get(key, []))
            _check_rows(inspection, key, entries, rows.get(key, []))
            inspection.count("keys")
        inspection.advance(*window)


def _by_key(rows: list[Any]) -> dict[Place, list[Any]]:
    found: dict[Place, list[Any]] = {}
    for space, name, *rest in rows:
        found.setdefault((space, name), []).append(rest)
    return found


def _check_heads(inspection: Inspection, key: Place, entries: list[_Entry], heads: list[Any]) -> None:
    newest: dict[int, _Entry] = {}
    for entry in sorted(entries, key=lambda e: (e.rank, e.seq)):
        newest[entry.lineage] = entry
    for lineage, rank, seq, deleted, state in heads:
        where = inspection.place(*key, seq)
        if newest.get(lineage) != (lineage, rank, seq, deleted):
            inspection.report("head", where, f"is not the newest of lineage {lineage}, as the heads table has it")
        if inspection.is_erased(lineage):
            inspection.report("head", where, "is among the heads, though it was purged")
        _check_state(inspection, "head", where, inspection.states.get(state), (lineage, rank, seq), entries)
    present = {head[0] for head in heads}
    for entry in newest.values():
        is_left_out = entry.lineage in present or inspection.is_purged(entry.lineage)
        if not is_left_out and not _is_dominated(inspection, entry, list(newest.values())):
            message = f"the newest of lineage {entry.lineage} is missing from the heads table"
            inspection.report("head", inspection.place(*key, entry.seq), message)


def _check_rows(inspection: Inspection, key: Place, entries: list[_Entry], rows: list[Any]) -> None:
    for lineage, rank, seq, _, _, state in rows:
        where = inspection.place(*key, seq)
        inspection.count("vector rows")
        _check_state(inspection, "state", where, inspection.states.get(state), (lineage, rank, seq), entries)


def _check_state(
    inspection: Inspection,
    kind: str,
    where: str,
    state: State | None,
    own: tuple[int, int, int],
    entries: list[_Entry],
) -> None:
    """Check that a state names what supersedes a write; nobody sees what was purged: it may be named or not."""
    if state is None:
        inspection.report(kind, where, "its state is not in the table of states")
        return
    lineage, rank, seq = own
    above = {entry.lineage for entry in entries if entry.is_above(rank, seq)}
    if state[0] != lineage or inspection.minimal(state[1]) != inspection.minimal(above):
        inspection.report(kind, where, f"its state is {state}, the journal has {sorted(above)} above lineage {lineage}")


def _is_dominated(inspection: Inspection, entry: _Entry, others: list[_Entry]) -> bool:
    """Say whether a newer write is visible wherever this one is."""
    settled = inspection.record.settled
    own = inspection.lineages.get(entry.lineage, frozenset()) - settled
    return any(
        other.is_above(entry.rank, entry.seq)
        and other.lineage in inspection.lineages
        and inspection.lineages[other.lineage] - settled <= own
        for other in others
    )
