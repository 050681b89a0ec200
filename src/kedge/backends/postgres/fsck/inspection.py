"""State of one fsck run over a PostgreSQL database."""

import json
from collections.abc import Iterator
from typing import Any

from kedge.backends.postgres.link import Link
from kedge.backends.postgres.sql import queries
from kedge.model.fsck import inspection
from kedge.model.fsck.inspection import FsckReport, Progress

SQL = queries("fsck")
_PART_SEQS = 2_000  # checked at a time
_SAMPLE_SEQS = inspection.SAMPLE_WINDOWS * inspection.SAMPLE_WINDOW_SEQS


class Inspection(inspection.Inspection):
    """One run: its checks read through `link`, which is in one read-only transaction."""

    def __init__(self, link: Link, *, full: bool, progress: Progress | None) -> None:
        super().__init__(full=full, progress=progress)
        self.link = link
        self._done = 0
        self.reclaimed = dict(link.rows(SQL["reclaimed"]))  # by collection: before this seq, rows may be missing
        self.last_seq = int(link.one(SQL["last_seq"])[0])
        self.know_policies(row[0] for row in link.rows(SQL["policies"]))
        self.spaces = {ident: (store, space) for ident, store, space in link.rows(SQL["spaces"])}
        self.lineages = {ident: frozenset(json.loads(members)) for ident, members in link.rows(SQL["lineages"])}

    def windows(self) -> Iterator[tuple[int, int]]:
        """Yield the ranges of seqs to check, both ends included: all in parts, or a sample."""
        if not self.whole:
            yield from self.sample()
            return
        for first in range(1, self.last_seq + 1, _PART_SEQS):
            yield first, min(first + _PART_SEQS - 1, self.last_seq)

    def ask(self, name: str, *parameters: Any) -> None:
        """Report each row (where, message) of a statement named check_<kind>_…."""
        for where, message in self.link.rows(SQL[name], *parameters):
            self.report(name.split("_")[1], where, message)

    def advance(self, first: int, last: int) -> None:
        """Count a range of seqs as done."""
        self._done += last - first + 1
        self.advance_to(self._done, max(self._done, 2 * (self.last_seq if self.whole else _SAMPLE_SEQS)))

    def result(self) -> FsckReport:
        """Return the report, and end the progress."""
        self.advance_to(max(1, self._done), max(1, self._done))
        return super().result()
