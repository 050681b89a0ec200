"""Metric samples in SQLite."""

import json
import sqlite3
from collections.abc import Iterable, Sequence

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.journal import SqliteJournal
from kedge.backends.sqlite.lineages import Interner
from kedge.backends.sqlite.session_names import named, stored_session
from kedge.backends.sqlite.sql import queries
from kedge.model.lineage import Lineage
from kedge.model.metrics import (
    Sample,
    Stored,
    Tally,
    decode_arrived,
    decode_sample,
    decode_tally,
    encode_sample,
    outcome,
)
from kedge.model.session_names import ALIAS

_SQL = queries("control")


class SqliteMetrics:
    """Metric samples of one database."""

    def __init__(self, database: Database, interner: Interner, journal: SqliteJournal) -> None:
        self._database = database
        self._interner = interner
        self._journal = journal

    def observe(self, sample: Sample) -> None:
        """Store one metric sample."""
        self.store([sample])

    def store(self, samples: Sequence[Sample]) -> list[Stored]:
        """Store samples in one transaction, each idempotency key once; return what became of each."""
        ids: dict[Lineage, int] = {}
        with self._database.writing("observe", shares=True) as connection:
            lineages = {sample.is_purged_with for sample in samples}
            # a turn in progress must not bring back what a purge erased
            purged = self._journal.purged_of(connection, frozenset().union(*lineages))
            stored = [
                Stored.PURGED if purged & sample.is_purged_with else self._insert(connection, sample, ids)
                for sample in samples
            ]
        for lineage, ident in ids.items():
            self._interner.learn(lineage, ident)
        return stored

    def _insert(self, connection: sqlite3.Connection, sample: Sample, ids: dict[Lineage, int]) -> Stored:
        if sample.lineage not in ids:
            ids[sample.lineage] = self._interner.intern(connection, sample.lineage)
        session = stored_session(connection, sample.session)
        row = *encode_sample(sample, session, ids[sample.lineage]), json.dumps(sorted(sample.seen))
        if connection.execute(_SQL["observe"], row).rowcount:
            return Stored.STORED
        return outcome(sample, session, connection.execute(_SQL["observed_with"], (sample.idempotency,)).fetchone())

    def of_sessions(self, sessions: Iterable[str], metrics: Iterable[str]) -> list[Sample]:
        """Return the samples of these metrics in these sessions, the oldest first."""
        asked = json.dumps(list(sessions)), json.dumps(sorted(metrics)), ALIAS
        return named(self._database, map(decode_arrived, self._database.ask(_SQL["observed_in"], *asked)))

    def arrived(self, metrics: Iterable[str], value: str, after: int, since: float, limit: int) -> list[Sample]:
        """Return samples of these metrics with this value (as JSON) from after a number and a moment, in order."""
        rows = self._database.ask(_SQL["observed_since"], json.dumps(sorted(metrics)), value, after, since, limit)
        return named(self._database, map(decode_arrived, rows))

    def newest(self) -> int:
        """Return the number of the newest sample, 0 where there is none."""
        return int(self._database.ask(_SQL["newest_observation"])[0][0])

    def observations(self, metric: str) -> list[Sample]:
        """Return the samples of a metric, the oldest first."""
        with self._database.connection() as connection:
            samples = [decode_sample(metric, row) for row in connection.execute(_SQL["observations"], (metric,))]
        return named(self._database, samples)

    def tallies(self, prefix: str) -> list[Tally]:
        """Return how often each value of each metric that begins with a prefix was stored, by agent, in that order."""
        with self._database.connection() as connection:
            return [decode_tally(row) for row in connection.execute(_SQL["tallies"], (prefix,))]

    def counts(self, metrics: Iterable[str]) -> dict[str, tuple[int, float]]:
        """Return, of each of these metrics that has samples, how many there are and the time of the last."""
        return {
            name: (count, at)
            for name, count, at in self._database.ask(_SQL["sample_counts"], json.dumps(sorted(metrics)))
        }

    def count(self, metric: str, since: float, limit: int) -> int:
        """Return how many of the newest samples of a metric, up to a limit, were observed since a moment."""
        return int(self._database.ask(_SQL["count_since"], metric, since, limit)[0][0])
