"""What all checks share: one snapshot of the database, what is known of it, and what was found."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kedge.backends.postgres.link import Link
from kedge.backends.postgres.sql import queries
from kedge.model.control import ControlRecord
from kedge.model.lineage import Lineage, antichain
from kedge.ports.fsck import Finding, FsckReport

SQL = queries("fsck")
SAMPLE_WINDOWS = 40
SAMPLE_WINDOW_SEQS = 100
_PART_SEQS = 2_000  # that are looked at at a time
_FINDINGS_MAX = 100  # of one kind: the rest are only counted

Progress = Callable[[int, int], None]
State = tuple[int, list[int]]


class Inspection:
    """One run: its checks read through `link`, which stands in one read-only transaction."""

    def __init__(self, link: Link, *, full: bool, progress: Progress | None) -> None:
        self.link = link
        self.full = full
        self.record = ControlRecord()
        self.erased: frozenset[int] = frozenset()
        self.states: dict[int, State] = {}
        self._progress = progress
        self._findings: list[Finding] = []
        self._kinds: Counter[str] = Counter()
        self._checked: Counter[str] = Counter()
        self._done = 0
        found = link.row(SQL["reclaimed"])
        self.reclaimed = 0 if found is None else int(found[0])  # before it, rows were taken out where it came from
        self.last_seq = int(link.one(SQL["last_seq"])[0])
        self.spaces = {ident: (store, space) for ident, store, space in link.rows(SQL["spaces"])}
        self.lineages: dict[int, Lineage] = {}
        for ident, members in link.rows(SQL["lineages"]):
            self.lineages[ident] = frozenset(json.loads(members))

    # ── what is known ──

    @property
    def whole(self) -> bool:
        """Whether all rows are looked at: because that was asked for, or because there are few."""
        return self.full or self.last_seq <= SAMPLE_WINDOWS * SAMPLE_WINDOW_SEQS

    def windows(self) -> Iterator[tuple[int, int]]:
        """Return the ranges of seqs to look at, both ends included: all, or windows spread evenly, the ends too."""
        if self.whole:
            for first in range(1, self.last_seq + 1, _PART_SEQS):
                yield first, min(first + _PART_SEQS - 1, self.last_seq)
            return
        stride = (self.last_seq - SAMPLE_WINDOW_SEQS) / (SAMPLE_WINDOWS - 1)
        for window in range(SAMPLE_WINDOWS):
            first = round(window * stride) + 1
            yield first, first + SAMPLE_WINDOW_SEQS - 1

    def minimal(self, lineages: Iterable[int]) -> set[Lineage]:
        """Return what decides where something that these supersede is seen; nobody sees what was purged."""
        known = (other for other in lineages if other in self.lineages and not self.is_purged(other))
        return set(antichain(self.lineages[other] - self.record.settled for other in known))

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

    def ask(self, name: str, *parameters: Any) -> None:
        """Report each row (where, message) that a statement finds; its name begins with check_ and the kind."""
        for where, message in self.link.rows(SQL[name], *parameters):
            self.report(name.split("_")[1], where, message)

    def count(self, what: str, number: int = 1) -> None:
        """Take note of how many things were looked at."""
        self._checked[what] += number

    def advance(self, first: int, last: int) -> None:
        """Tell whoever waits how far the run has come."""
        self._done += last - first + 1
        if self._progress is not None:
            self._progress(self._done, max(self._done, 2 * self.last_seq if self.whole else 2 * 4_000))

    def result(self) -> FsckReport:
        """Return the report, and tell whoever waits that the run is over."""
        if self._progress is not None:
            self._progress(max(1, self._done), max(1, self._done))
        untold = [
            Finding(kind, "", f"{number - _FINDINGS_MAX} more of this kind")
            for kind, number in self._kinds.items()
            if number > _FINDINGS_MAX
        ]
        return FsckReport(self.full, (*self._findings, *untold), dict(sorted(self._checked.items())))
