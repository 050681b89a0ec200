"""Metric samples in PostgreSQL."""

from collections.abc import Iterable, Sequence

from kedge.backends.postgres.database import Database, again
from kedge.backends.postgres.journal import PostgresJournal
from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.row_locks import lane_of
from kedge.backends.postgres.session_names import named, stored_session
from kedge.backends.postgres.sql import queries
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


class PostgresMetrics:
    """Metric samples of one database."""

    def __init__(self, database: Database, interner: Interner, journal: PostgresJournal) -> None:
        self._database = database
        self._interner = interner
        self._journal = journal

    def observe(self, sample: Sample) -> None:
        """Store one metric sample."""
        self.store([sample])

    def store(self, samples: Sequence[Sample]) -> list[Stored]:
        """Store samples in one transaction, each idempotency key once; return what became of each."""
        learned: dict[Lineage, int] = {}

        def act(link: Link) -> list[Stored]:
            learned.clear()
            return self._store(link, samples, learned)

        # An erasure holds all lanes: it waits for these samples, or they see the purge.
        lanes = {lane_of("observe", sample.session or "") for sample in samples if sample.is_purged_with}
        is_repeatable = all(sample.idempotency is not None for sample in samples)
        stored = self._database.write("observe", act, lanes=lanes, find=again if is_repeatable else None)
        for lineage, ident in learned.items():
            self._interner.learn(lineage, ident)
        return stored

    def _store(self, link: Link, samples: Sequence[Sample], learned: dict[Lineage, int]) -> list[Stored]:
        lineages = {sample.is_purged_with for sample in samples}
        # a turn in progress must not bring back what a purge erased
        purged = self._journal.purged_of(link, frozenset().union(*lineages))
        kept = [sample for sample in samples if not purged & sample.is_purged_with]
        for lineage in {sample.lineage for sample in kept}:
            learned[lineage] = self._interner.intern(link, lineage)
        sessions = {session: stored_session(link, session) for session in {sample.session for sample in kept}}
        rows = [
            (*encode_sample(sample, sessions[sample.session], learned[sample.lineage]), _numbers(sample.seen))
            for sample in kept
        ]
        fresh: set[str | None]
        if len(rows) == 1:
            *plain, _ = rows[0]
            cursor = link.send(_SQL["observe"], *plain, sorted(kept[0].seen))
            if kept[0].idempotency is None:
                return [Stored.STORED if sample in kept else Stored.PURGED for sample in samples]
            link.wait()
            fresh = {kept[0].idempotency} if cursor.fetchall() else set()
        else:
            columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(9)]
            fresh = {key for (key,) in link.rows(_SQL["observe_many"], *columns)} if rows else set()
        return self._outcomes(link, samples, sessions, purged, fresh)

    def _outcomes(
        self,
        link: Link,
        samples: Sequence[Sample],
        sessions: dict[str | None, str | None],
        purged: Lineage,
        fresh: set[str | None],
    ) -> list[Stored]:
        """Return what became of each sample, where `fresh` are the keys that were not taken."""
        keys = {sample.idempotency for sample in samples if sample.idempotency is not None} - fresh
        twice = {sample.idempotency for sample in samples} & fresh if len(fresh) < len(samples) else set()
        asked = sorted(key for key in keys | twice if key is not None)
        there = {key: tuple(row) for key, *row in link.rows(_SQL["observed_with"], asked)} if asked else {}
        found: list[Stored] = []
        for sample in samples:
            key = sample.idempotency
            if purged & sample.is_purged_with:
                found.append(Stored.PURGED)
            elif key is None or key in fresh:
                fresh.discard(key)  # another sample of this call with the key is a repeat
                found.append(Stored.STORED)
            else:
                found.append(outcome(sample, sessions[sample.session], there.get(key)))
        return found

    def of_sessions(self, sessions: Iterable[str], metrics: Iterable[str]) -> list[Sample]:
        """Return the samples of these metrics in these sessions, the oldest first."""
        rows = self._database.ask(_SQL["observed_in"], list(sessions), sorted(metrics), ALIAS)
        return named(self._database, map(decode_arrived, rows))

    def arrived(self, metrics: Iterable[str], value: str, after: int, since: float, limit: int) -> list[Sample]:
        """Return samples of these metrics with this value (as JSON) from after a number and a moment, in order."""
        rows = self._database.ask(_SQL["observed_since"], sorted(metrics), value, after, since, limit)
        return named(self._database, map(decode_arrived, rows))

    def newest(self) -> int:
        """Return the number of the newest sample, 0 where there is none."""
        return int(self._database.ask(_SQL["newest_observation"])[0][0])

    def observations(self, metric: str) -> list[Sample]:
        """Return the samples of a metric, the oldest first."""
        samples = [decode_sample(metric, row) for row in self._database.ask(_SQL["observations"], metric)]
        return named(self._database, samples)

    def tallies(self, prefix: str) -> list[Tally]:
        """Return how often each value of each metric that begins with a prefix was stored, by agent, in that order."""
        return [decode_tally(row) for row in self._database.ask(_SQL["tallies"], prefix)]

    def counts(self, metrics: Iterable[str]) -> dict[str, tuple[int, float]]:
        """Return, of each of these metrics that has samples, how many there are and the time of the last."""
        return {name: (count, at) for name, count, at in self._database.ask(_SQL["sample_counts"], sorted(metrics))}

    def count(self, metric: str, since: float, limit: int) -> int:
        """Return how many of the newest samples of a metric, up to a limit, were observed since a moment."""
        return int(self._database.ask(_SQL["count_since"], metric, since, limit)[0][0])


def _numbers(seen: Lineage) -> str:
    """Return deployment numbers as the text of an array."""
    return "{" + ",".join(map(str, sorted(seen))) + "}"
