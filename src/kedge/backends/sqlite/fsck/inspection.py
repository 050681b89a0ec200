"""State of one fsck run over a SQLite database."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from kedge.backends.sqlite.sql import queries
from kedge.model.compaction import Past, Readable
from kedge.model.fsck import inspection
from kedge.model.fsck.inspection import FsckReport, Progress
from kedge.model.lineage import Lineage
from kedge.model.pruning import Pruned
from kedge.model.states import from_text

SQL = queries("fsck")
_PROGRESS_EVERY = 500


class Inspection(inspection.Inspection):
    """One run: its checks read `connection`, which is in one read transaction and cannot write."""

    def __init__(self, connection: sqlite3.Connection, folder: Path, *, full: bool, progress: Progress | None) -> None:
        super().__init__(full=full, progress=progress)
        self.connection = connection
        self.folder = folder
        self.settled_at: dict[int, int] = {}
        self._readable: dict[str, Readable] = {}
        self._done = self._total = 0

    # ── what is known ──

    def load(self) -> None:
        """Read what all checks need: the last seq, the spaces, and the lineages and states that can be read."""
        self.last_seq = self.connection.execute(SQL["last_seq"]).fetchone()[0]
        self.know_policies(row[0] for row in self.connection.execute(SQL["policies"]))
        stored = self.connection.execute(SQL["pruned"]).fetchone()
        self.pruned = Pruned.decode(None if stored is None else stored[0])
        self.spaces = {ident: (store, space) for ident, store, space in self.connection.execute(SQL["spaces"])}
        lineages: dict[int, Lineage] = {}
        for ident, members in self.connection.execute(SQL["lineages"]):
            try:
                lineages[ident] = frozenset(json.loads(members))
            except (ValueError, TypeError):
                continue  # the check of the lineage table reports it
        self.lineages = lineages
        for ident, lineage, text in self.connection.execute(SQL["states"]):
            try:
                self.states[ident] = (lineage, from_text(text))
            except (ValueError, TypeError, msgspec.MsgspecError):
                continue  # the check of the table of states reports it
        self.settled_at = dict(self.connection.execute(SQL["settled_at"]).fetchall())
        self._total = 3 * sum(last - first + 1 for first, last in self.windows())

    def readable(self, collection: str) -> Readable:
        """Return the part of the past of a collection that compaction keeps readable."""
        if collection not in self._readable:
            self._readable[collection] = self._look_at_readable(collection)
        return self._readable[collection]

    def _look_at_readable(self, collection: str) -> Readable:
        reclaimed = self.connection.execute(SQL["reclaimed"], (collection,)).fetchone()[0]
        seqs = [reclaimed, *(row[0] for row in self.connection.execute(SQL["snapshot_seqs"]))]
        horizon, *snapshots = (
            Past(seq, frozenset(n for n, at in self.settled_at.items() if at <= seq)) for seq in seqs
        )
        return Readable(horizon, tuple(snapshots))

    def windows(self) -> Iterator[tuple[int, int]]:
        """Return the ranges of seqs to check, both ends included: all, or a sample."""
        return iter([(1, self.last_seq)]) if self.whole else self.sample()

    def effective(self, lineage: int, seq: int | None = None) -> Lineage:
        """Return a lineage without the numbers that are settled now, or were at a seq."""
        members = self.lineages[lineage]
        if seq is None:
            return members - self.record.settled
        return frozenset(number for number in members if self.settled_at.get(number, seq + 1) > seq)

    # ── progress ──

    def advance(self, number: int = 1) -> None:
        """Count rows as done."""
        before, self._done = self._done, min(self._done + number, self._total)
        if self._done // _PROGRESS_EVERY != before // _PROGRESS_EVERY:
            self.advance_to(self._done, self._total)

    def result(self) -> FsckReport:
        """Return the report, and end the progress."""
        self.advance_to(max(1, self._total), max(1, self._total))
        return super().result()
