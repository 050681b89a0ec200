"""Checks of vector rows and their states, against the writes to their keys."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from kedge.backends.sqlite.fsck.inspection import SQL, Inspection
from kedge.backends.sqlite.fsck.keys import by_key
from kedge.backends.sqlite.fsck.segment_files import SegmentFiles
from kedge.model.compaction import may_go
from kedge.model.fsck.keys import Place
from kedge.model.lineage import Lineage, antichain
from kedge.model.states import Superseders

_Log = list[tuple[int, int]]  # (lineage, first seq)


class _Row(NamedTuple):
    space: int
    name: str
    rank: int
    seq: int
    segment: int
    row: int
    state: int


def check_states(inspection: Inspection) -> None:
    """Check the table of states: a lineage, and the minimal set of lineages that supersede it."""
    for ident, lineage, text in inspection.connection.execute(SQL["states"]):
        where = f"state {ident}"
        inspection.count("states")
        if ident not in inspection.states:
            inspection.report("state", where, f"its superseders {text!r} cannot be read")
            continue
        superseders = inspection.states[ident][1]
        if not inspection.lineages.keys() >= {lineage, *(superseders or ())}:
            inspection.report("state", where, "names a lineage that is not in the lineage table")
        elif superseders is not None and list(superseders) != sorted(_minimal(inspection, superseders)):
            inspection.report("state", where, f"its superseders {text} are not a minimal set in order")


def check_rows(inspection: Inspection, files: SegmentFiles) -> None:
    """Check the position and state of each vector row, and its log of superseding lineages."""
    _check_row_order(inspection)
    log = _log(inspection) if inspection.whole else None
    for key, writes, rows in by_key(inspection, "rows"):
        if inspection.spaces.get(key[0], ("",))[0] != "vectors":
            if rows:
                inspection.report("vector", inspection.place(*key), "has vector rows, but is not the key of a vector")
            continue
        puts = {(write[3], write[4]): write for write in writes if not write[5]}
        above = _Above(inspection, writes)
        for row in sorted((_Row(*r) for r in rows), key=lambda r: (r.rank, r.seq), reverse=True):
            where = inspection.place(row.space, row.name, row.seq)
            inspection.count("vector rows")
            put = puts.pop((row.rank, row.seq), None)
            if put is None:
                inspection.report("vector", where, f"row {row.row} of segment {row.segment} belongs to no put")
                continue
            superseded = above.firsts(row.rank, row.seq)
            _check_state(inspection, row, put[2], superseded)
            logged = _log_of(inspection, row, superseded) if log is None else log.get((row.segment, row.row), [])
            for message in _compare_log(inspection, put[2], superseded, logged):
                inspection.report("supersedes", where, message)
            _check_zeroed(inspection, files, row, put[2])
        _check_reclaimed(inspection, key, puts, writes)


def _check_reclaimed(inspection: Inspection, key: Place, puts: dict[tuple[int, int], Any], writes: list[Any]) -> None:
    """Check that no view needs the missing vector rows of puts: then compaction may have removed them."""
    above = _Above(inspection, writes)
    members, readable = inspection.lineages, inspection.readable(inspection.spaces[key[0]][1])
    for (rank, seq), put in sorted(puts.items(), reverse=True):
        superseded = [(first, members[by]) for by, first in above.firsts(rank, seq).items()]
        if put[2] in members and may_go(seq, members[put[2]], superseded, readable, inspection.record.purged):
            inspection.count("vectors reclaimed")
        else:
            inspection.report("vector", inspection.place(*key, seq), "has no vector row")


def _check_row_order(inspection: Inspection) -> None:
    if not inspection.whole:
        return
    for (segment,) in inspection.connection.execute("SELECT id FROM segments").fetchall():
        before = 0
        for row, seq, name in inspection.connection.execute(SQL["segment_rows"], (segment,)):
            if seq <= before:
                where = f"segment {segment}.f32 row {row} ({name} seq {seq})"
                inspection.report("vector", where, f"comes after the row of seq {before}: rows are in order of seq")
            before = seq


def _log(inspection: Inspection) -> dict[tuple[int, int], _Log]:
    found: dict[tuple[int, int], _Log] = {}
    for segment, row, lineage, seq in inspection.connection.execute(SQL["supersedes_by_row"]):
        found.setdefault((segment, row), []).append((lineage, seq))
    return found


def _log_of(inspection: Inspection, row: _Row, superseded: dict[int, int]) -> _Log:
    """Return the log of a row at the given seqs, by seeks: the log is sorted by seq, not by row."""
    found: _Log = []
    for seq in sorted(set(superseded.values())):
        found += inspection.connection.execute(SQL["supersedes_of_row"], (row.segment, seq, row.row)).fetchall()
    return found


# ── truth by brute force ──


class _Above:
    """The lineages that supersede the rows of one key; ask from its newest write down."""

    def __init__(self, inspection: Inspection, writes: Iterable[Any]) -> None:
        self._lineages = inspection.lineages
        self._waiting = sorted((w[3], w[4], w[2]) for w in writes)
        self._first: dict[int, int] = {}

    def firsts(self, rank: int, seq: int) -> dict[int, int]:
        """Return the lineages of all writes above (rank, seq), each with the seq at which it first superseded it."""
        while self._waiting and self._waiting[-1][:2] > (rank, seq):
            _, above, lineage = self._waiting.pop()
            self._first[lineage] = min(above, self._first.get(lineage, above))
        return {lineage: max(first, seq) for lineage, first in self._first.items() if lineage in self._lineages}


def _check_state(inspection: Inspection, row: _Row, lineage: int, superseded: Iterable[int]) -> None:
    where = inspection.place(row.space, row.name, row.seq)
    if row.state not in inspection.states:
        inspection.report("state", where, f"its state {row.state} is not in the table of states")
        return
    own, superseders = inspection.states[row.state]
    if own != lineage or not _are_alike(inspection, own, superseders, superseded):
        truth = (lineage, sorted(_minimal(inspection, superseded)))
        inspection.report("state", where, f"its state is {inspection.states[row.state]}, the journal makes it {truth}")


def _are_alike(inspection: Inspection, own: int, named: Superseders, true: Iterable[int]) -> bool:
    """Return whether the superseders that a state names decide like the true ones; the log decides contested rows."""
    if named is None:
        return True
    there = [other for other in named if other in inspection.lineages]
    named_sets, true_sets = (
        antichain(inspection.effective(other) - inspection.lineages[own] for other in some) for some in (there, true)
    )
    return named_sets == true_sets


def _minimal(inspection: Inspection, superseders: Iterable[int]) -> list[int]:
    by_members: dict[Lineage, int] = {inspection.lineages[other]: other for other in superseders}
    return [by_members[members] for members in antichain(by_members)]


def _compare_log(inspection: Inspection, own: int, superseded: dict[int, int], logged: _Log) -> list[str]:
    """Check that at every seq, in every view that sees a row, its log agrees with the writes up to that seq."""
    found = [
        f"the log has it superseded by lineage {lineage} at seq {seq}, the journal at {superseded.get(lineage)}"
        for lineage, seq in logged
        if superseded.get(lineage) != seq
    ]
    members = inspection.lineages
    for lineage, first in superseded.items():
        if not any(
            seq <= first and other in members and inspection.effective(other, first) <= members[lineage] | members[own]
            for other, seq in logged
        ):
            found.append(f"the log does not have it superseded by lineage {lineage} at seq {first}")
    return found


def _check_zeroed(inspection: Inspection, files: SegmentFiles, row: _Row, lineage: int) -> None:
    if inspection.is_erased(lineage):
        content = files.row(row.segment, row.row)
        if content is not None and any(content):
            where = inspection.place(row.space, row.name, row.seq)
            inspection.report("purge", where, "its vector is still there, though its deployment was purged")
