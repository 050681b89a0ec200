"""Fold of spans into agent × store × access × deployment, in any order and from any number of files.

Agents are found by parents, and a parent may come in another file than its child. So the fold keeps a small record of
each span in a temporary SQLite database, which is on disk as soon as it outgrows its cache, and attributes one trace
after the other. Memory is bounded by the largest trace and the number of distinct rows of the report.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from kedge.discovery.traces.attribution import Attributed, Call, attribute
from kedge.discovery.traces.blind import blind_spots
from kedge.discovery.traces.facts import Facts, facts_of
from kedge.discovery.traces.model import Access, AgentBy, BadPart, External, Handover, StoreName, TraceReport, Traffic
from kedge.discovery.traces.reading import read_spans, trace_files
from kedge.discovery.traces.spans import Link, Span
from kedge.errors import StorageFull

_BATCH = 1_000
_BAD_SHOWN = 20  # of each file
_SECOND = 1e9
_SCHEMA = """
    CREATE TABLE span (trace BLOB, id BLOB, parent BLOB, facts BLOB, PRIMARY KEY (trace, id)) WITHOUT ROWID;
    CREATE TABLE seen (row INTEGER, session TEXT, PRIMARY KEY (row, session)) WITHOUT ROWID;
"""
_FACTS = msgspec.msgpack.Decoder(Facts)
_ENCODER = msgspec.msgpack.Encoder()

_Key = tuple[str, AgentBy, StoreName, Access, str]


class _Sum(msgspec.Struct):
    """Sums of one row of the report."""

    number: int
    calls: int = 0
    errors: int = 0
    first: int = 0
    last: int = 0


class Fold:
    """Spans, collected and then folded into a report. Use it as a context manager: it owns a temporary database."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")  # temporary, on disk once it is large; deleted when it is closed
        self._database.executescript(_SCHEMA)
        self._pending: list[tuple[bytes, bytes, bytes, bytes]] = []
        self._taken = 0
        self._bad: list[BadPart] = []
        self._bad_parts: dict[str, int] = {}
        self._services: set[str] = set()
        self._scopes: set[str] = set()
        self._first: int | None = None
        self._last: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
        if isinstance(error, sqlite3.OperationalError):
            raise StorageFull(
                f"the temporary file of spans cannot grow ({error}): set TMPDIR to a folder with more space"
            ) from error

    def add(self, span: Span) -> None:
        """Take a span; a second one of the same ids is counted as a duplicate."""
        facts = facts_of(span)
        self._pending.append((span.trace, span.id, span.parent, _ENCODER.encode(facts)))
        self._taken += 1
        if facts.service:
            self._services.add(facts.service)
        if facts.scope:
            self._scopes.add(facts.scope)
        if facts.start:
            self._first = facts.start if self._first is None else min(self._first, facts.start)
            self._last = facts.end if self._last is None else max(self._last, facts.end)
        if len(self._pending) >= _BATCH:
            self._store()

    def add_bad(self, part: BadPart) -> None:
        """Count a part that could not be read; keep the first ones of each file."""
        self._bad_parts[part.file] = self._bad_parts.get(part.file, 0) + 1
        if self._bad_parts[part.file] <= _BAD_SHOWN:
            self._bad.append(part)

    def report(self, files: int = 0) -> TraceReport:
        """Attribute every trace, and return the sums."""
        self._store()
        sums = _Sums(self._database)
        total = Attributed()
        spans = traces = 0
        for rows in self._traces():
            traces += 1
            spans += len(rows)
            found = attribute(rows, self._lookup)
            sums.add(found)
            total.orphans += found.orphans
            total.neither += found.neither
            total.inner += found.inner
        seconds = 0.0 if self._first is None or self._last is None else (self._last - self._first) / _SECOND
        return TraceReport(
            traffic=sums.traffic(seconds),
            handovers=sums.handovers(),
            externals=sums.externals(),
            blind=blind_spots(self._scopes),
            bad=tuple(self._bad),
            bad_parts=sum(self._bad_parts.values()),
            files=files,
            spans=spans,
            traces=traces,
            duplicates=self._taken - spans,
            orphans=total.orphans,
            neither=total.neither,
            inner=total.inner,
            services=tuple(sorted(self._services)),
            scopes=tuple(sorted(self._scopes)),
            first=None if self._first is None else self._first / _SECOND,
            last=None if self._last is None else self._last / _SECOND,
        )

    def _store(self) -> None:
        self._database.executemany("INSERT OR IGNORE INTO span VALUES (?, ?, ?, ?)", self._pending)
        self._pending.clear()

    def _traces(self) -> Iterator[dict[bytes, tuple[bytes, Facts]]]:
        rows: Iterable[tuple[bytes, bytes, bytes, bytes]]
        rows = self._database.execute("SELECT trace, id, parent, facts FROM span ORDER BY trace, id")
        for _, group in itertools.groupby(rows, key=lambda row: row[0]):
            yield {span: (parent, _FACTS.decode(facts)) for _, span, parent, facts in group}

    def _lookup(self, link: Link) -> Facts | None:
        row = self._database.execute(
            "SELECT facts FROM span WHERE trace = ? AND id = ?", (link.trace, link.id)
        ).fetchone()
        return None if row is None else _FACTS.decode(row[0])


class _Sums:
    """Sums over all traces; distinct sessions are in the database."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._rows: dict[_Key, _Sum] = {}
        self._handovers: dict[tuple[str, str, Any], int] = {}
        self._externals: dict[tuple[str, Any, str], list[int]] = {}

    def add(self, found: Attributed) -> None:
        """Add what one trace shows."""
        seen = [(self._row(call), call.session) for call in found.calls]
        self._database.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", [each for each in seen if each[1]])
        for handover in found.handovers:
            self._handovers[handover] = self._handovers.get(handover, 0) + 1
        for each in found.externals:
            counts = self._externals.setdefault((each.agent, each.kind, each.name), [0, 0])
            counts[0] += each.calls
            counts[1] += each.errors

    def _row(self, call: Call) -> int:
        key = (call.agent.name, call.agent.by, call.touch.store, call.touch.access, call.deployment)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = _Sum(len(self._rows), first=call.start, last=call.start)
        row.calls += 1
        row.errors += call.error
        row.first, row.last = min(row.first, call.start), max(row.last, call.start)
        return row.number

    def traffic(self, seconds: float) -> tuple[Traffic, ...]:
        """Return the rows, sorted."""
        sessions = dict(self._database.execute("SELECT row, count(*) FROM seen GROUP BY row"))
        return tuple(
            sorted(
                Traffic(
                    *key,
                    calls=row.calls,
                    errors=row.errors,
                    sessions=sessions.get(row.number, 0),
                    first=row.first / _SECOND,
                    last=row.last / _SECOND,
                    per_second=row.calls / seconds if seconds > 0 else None,
                )
                for key, row in self._rows.items()
            )
        )

    def handovers(self) -> tuple[Handover, ...]:
        """Return the handovers between agents, sorted."""
        return tuple(sorted(Handover(*key, times=times) for key, times in self._handovers.items()))

    def externals(self) -> tuple[External, ...]:
        """Return the calls of external systems, sorted."""
        return tuple(
            sorted(External(*key, calls=calls, errors=errors) for key, (calls, errors) in self._externals.items())
        )


def read_traces(*paths: str | Path, deployment: str | None = None) -> TraceReport:
    """Fold trace files, and all below folders, into who reads and writes what; only those of a deployment if named.

    They are OTLP/JSON (one document, or one a line, as the collector's file exporter writes them) or Jaeger JSON; each
    may be packed with gzip. What cannot be read is in `bad`.
    """
    files = trace_files(paths)
    with Fold() as fold:
        for file in files:
            for found in read_spans(file):
                if isinstance(found, BadPart):
                    fold.add_bad(found)
                else:
                    fold.add(found)
        report = fold.report(len(files))
    if deployment is None:
        return report
    return msgspec.structs.replace(
        report, traffic=tuple(each for each in report.traffic if each.deployment == deployment)
    )
