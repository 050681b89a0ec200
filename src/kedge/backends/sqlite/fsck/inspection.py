"""What all checks share: one snapshot of the database, what is known of it, and what was found."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

from kedge.backends.sqlite.sql import queries
from kedge.model.compaction import Past, Readable
from kedge.model.control import ControlRecord
from kedge.model.lineage import Lineage
from kedge.ports.fsck import Finding, FsckReport

SQL = queries("fsck")
SAMPLE_WINDOWS = 40
SAMPLE_WINDOW_SEQS = 100
_FINDINGS_MAX = 100  # of one kind: the rest are only counted
_PROGRESS_EVERY = 500

Progress = Callable[[int, int], None]


class Inspection:
    """One run: its checks read `connection`, which stands in one read transaction and can write nothing."""

    def __init__(self, connection: sqlite3.Connection, folder: Path, *, full: bool, progress: Progress | None) -> None:
        self.connection = connection
        self.folder = folder
        self.full = full
        self.record = ControlRecord()
        self.erased: frozenset[int] = frozenset()
        self.last_seq = 0
        self.lineages: dict[int, Lineage] = {}
        self.spaces: dict[int, tuple[str, str]] = {}
        self.settled_at: dict[int, int] = {}
        self._findings: list[Finding] = []
        self._notes: list[Finding] = []
        self._kinds: Counter[str] = Counter()
        self._checked: Counter[str] = Counter()
        self._progress = progress
        self._done = self._total = 0

    # ── what is known ──

    def load(self) -> None:
        """Read what the checks lean on: the last seq, the spaces, the lineages that can be read."""
        self.last_seq = self.connection.execute(SQL["last_seq"]).fetchone()[0]
        for ident, store, space in self.connection.execute(SQL["spaces"]):
            self.spaces[ident] = (store, space)
        for ident, members in self.connection.execute(SQL["lineages"]):
            try:
                self.lineages[ident] = frozenset(json.loads(members))
            except (ValueError, TypeError):
                continue  # the check of the lineage table reports it
        self.settled_at = dict(self.connection.execute(SQL["settled_at"]).fetchall())
        self._total = 3 * sum(last - first + 1 for first, last in self.windows())

    @cached_property
    def readable(self) -> Readable:
        """What of the past can be read, as far as compaction goes by it."""
        reclaimed = self.connection.execute(SQL["reclaimed"]).fetchone()[0]
        seqs = [reclaimed, *(row[0] for row in self.connection.execute(SQL["snapshot_seqs"]))]
        horizon, *snapshots = (
            Past(seq, frozenset(n for n, at in self.settled_at.items() if at <= seq)) for seq in seqs
        )
        return Readable(horizon, tuple(snapshots))

    @property
    def whole(self) -> bool:
        """Whether all rows are looked at: because that was asked for, or because there are few."""
        return self.full or self.last_seq <= SAMPLE_WINDOWS * SAMPLE_WINDOW_SEQS

    def windows(self) -> Iterator[tuple[int, int]]:
        """Return the ranges of seqs to look at, both ends included: all, or windows spread evenly, the ends too."""
        if self.whole:
            yield 1, self.last_seq
            return
        stride = (self.last_seq - SAMPLE_WINDOW_SEQS) / (SAMPLE_WINDOWS - 1)
        for window in range(SAMPLE_WINDOWS):
            first = round(window * stride) + 1
            yield first, first + SAMPLE_WINDOW_SEQS - 1

    def effective(self, lineage: int, seq: int | None = None) -> Lineage:
        """Return a lineage without what is settled by now, or was at a seq: views then see what is left, or not."""
        members = self.lineages[lineage]
        if seq is None:
            return members - self.record.settled
        return frozenset(number for number in members if self.settled_at.get(number, seq + 1) > seq)

    def is_erased(self, lineage: int) -> bool:
        """Say whether writes of this lineage were purged, and the purge has been finished."""
        return not self.erased.isdisjoint(self.lineages.get(lineage, ()))

    def is_purged(self, lineage: int) -> bool:
        """Say whether writes of this lineage were given up for good."""
        return not self.record.purged.isdisjoint(self.lineages.get(lineage, ()))

    def place(self, space: int, name: object, seq: object = None) -> str:
        """Return how a finding names a write, or a key."""
        store, within = self.spaces.get(space, ("?", f"#{space}"))
        return f"{store}:{within}/{name}" + ("" if seq is None else f" seq {seq}")

    # ── what is found ──

    def report(self, kind: str, where: str, message: str) -> None:
        """Take note of something that is not as it must be."""
        self._kinds[kind] += 1
        if self._kinds[kind] <= _FINDINGS_MAX:
            self._findings.append(Finding(kind, where, message))

    def note(self, kind: str, where: str, message: str) -> None:
        """Take note of something that is no damage: it is made anew by itself."""
        self._notes.append(Finding(kind, where, message))

    def count(self, what: str, number: int = 1) -> None:
        """Take note of how many things were looked at."""
        self._checked[what] += number

    def advance(self, number: int = 1) -> None:
        """Tell whoever waits how far the run has come."""
        before, self._done = self._done, min(self._done + number, self._total)
        if self._progress is not None and self._done // _PROGRESS_EVERY != before // _PROGRESS_EVERY:
            self._progress(self._done, self._total)

    def result(self) -> FsckReport:
        """Return the report, and tell whoever waits that the run is over."""
        if self._progress is not None:
            self._progress(max(1, self._total), max(1, self._total))
        untold = [
            Finding(kind, "", f"{number - _FINDINGS_MAX} more of this kind")
            for kind, number in self._kinds.items()
            if number > _FINDINGS_MAX
        ]
        return FsckReport(
            self.full, (*self._findings, *untold), dict(sorted(self._checked.items())), tuple(self._notes)
        )
