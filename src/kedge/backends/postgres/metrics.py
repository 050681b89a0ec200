"""Metric samples in PostgreSQL."""

import json

from kedge.backends.postgres.database import Database
from kedge.backends.postgres.journal import PostgresJournal
from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.row_locks import lane_of
from kedge.backends.postgres.session_names import named, stored_session
from kedge.backends.postgres.sql import queries
from kedge.model.metrics import Sample, Tally, decode_sample, decode_tally

_SQL = queries("control")


class PostgresMetrics:
    """Metric samples of one database."""

    def __init__(self, database: Database, interner: Interner, journal: PostgresJournal) -> None:
        self._database = database
        self._interner = interner
        self._journal = journal

    def observe(self, sample: Sample) -> None:
        """Store one metric sample."""

        def act(link: Link) -> int | None:
            if self._journal.purged_of(link, sample.is_purged_with):
                return None  # a turn in progress must not bring back what a purge erased
            lineage = self._interner.intern(link, sample.lineage)
            link.send(
                _SQL["observe"], sample.at, stored_session(link, sample.session), sample.agent, sample.metric,
                json.dumps(sample.value), lineage, sorted(sample.seen),
            )  # fmt: skip
            return lineage

        # An erasure holds all lanes: it waits for this sample, or this sample sees the purge.
        lanes = [lane_of("observe", sample.session or "")] if sample.is_purged_with else []
        lineage = self._database.write("observe", act, lanes=lanes)
        if lineage is not None:
            self._interner.learn(sample.lineage, lineage)

    def observations(self, metric: str) -> list[Sample]:
        """Return the samples of a metric, the oldest first."""
        samples = [decode_sample(metric, row) for row in self._database.ask(_SQL["observations"], metric)]
        return named(self._database, samples)

    def tallies(self, prefix: str) -> list[Tally]:
        """Return how often each value of each metric that begins with a prefix was stored, by agent, in that order."""
        return [decode_tally(row) for row in self._database.ask(_SQL["tallies"], prefix)]
