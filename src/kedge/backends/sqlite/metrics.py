"""Metric samples in SQLite."""

import json

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.journal import SqliteJournal
from kedge.backends.sqlite.lineages import Interner
from kedge.backends.sqlite.session_names import named, stored_session
from kedge.backends.sqlite.sql import queries
from kedge.model.metrics import Sample, Tally, decode_sample, decode_tally

_SQL = queries("control")


class SqliteMetrics:
    """Metric samples of one database."""

    def __init__(self, database: Database, interner: Interner, journal: SqliteJournal) -> None:
        self._database = database
        self._interner = interner
        self._journal = journal

    def observe(self, sample: Sample) -> None:
        """Store one metric sample."""
        with self._database.writing("observe", shares=True) as connection:
            if self._journal.purged_of(connection, sample.is_purged_with):
                return  # a turn in progress must not bring back what a purge erased
            lineage = self._interner.intern(connection, sample.lineage)
            row = (
                sample.at, stored_session(connection, sample.session), sample.agent, sample.metric,
                json.dumps(sample.value), lineage, json.dumps(sorted(sample.seen)),
            )  # fmt: skip
            connection.execute(_SQL["observe"], row)
        self._interner.learn(sample.lineage, lineage)

    def observations(self, metric: str) -> list[Sample]:
        """Return the samples of a metric, the oldest first."""
        with self._database.connection() as connection:
            samples = [decode_sample(metric, row) for row in connection.execute(_SQL["observations"], (metric,))]
        return named(self._database, samples)

    def tallies(self, prefix: str) -> list[Tally]:
        """Return how often each value of each metric that begins with a prefix was stored, by agent, in that order."""
        with self._database.connection() as connection:
            return [decode_tally(row) for row in connection.execute(_SQL["tallies"], (prefix,))]
