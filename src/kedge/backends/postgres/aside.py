"""What is kept beside the journal: metric samples and cached results."""

import json

from kedge.backends.postgres.database import Database, again
from kedge.backends.postgres.journal import PostgresJournal
from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.reads import check_epoch
from kedge.backends.postgres.sql import queries
from kedge.model.lineage import Lineage
from kedge.model.visibility import View
from kedge.ports.aside import Cached, Sample, Tally

_SQL = queries("control")
_EPOCH = queries("journal")["epoch"]


class PostgresAside:
    """Metric samples and the cache, in the same database."""

    def __init__(self, database: Database, interner: Interner, journal: PostgresJournal, cache_bytes: int) -> None:
        self._database = database
        self._interner = interner
        self._journal = journal
        self._cache_bytes = cache_bytes

    def observe(self, sample: Sample) -> None:
        """Store one metric sample."""

        def act(link: Link) -> int:
            lineage = self._interner.intern(link, sample.lineage)
            link.send(
                _SQL["observe"], sample.at, sample.session, sample.agent, sample.metric, json.dumps(sample.value),
                lineage, sorted(sample.seen),
            )  # fmt: skip
            return lineage

        self._interner.learn(sample.lineage, self._database.write("observe", act))

    def observations(self, metric: str) -> list[Sample]:
        """Return the samples of a metric, the oldest first."""
        return [
            Sample(metric, json.loads(value), at, session, agent, seen=frozenset(seen))
            for at, session, agent, value, seen in self._database.ask(_SQL["observations"], metric)
        ]

    def tallies(self, prefix: str) -> list[Tally]:
        """Return how often each value of each metric that begins with a prefix was stored, by agent, in that order."""
        return [
            Tally(metric, agent, json.loads(value), count, at)
            for metric, agent, value, count, at in self._database.ask(_SQL["tallies"], prefix)
        ]

    def cached(self, view: View, key: bytes, now: float) -> Cached | None:
        """Return the newest entry of a key that the view sees and that has not expired."""

        def look(link: Link) -> Cached | None:
            epoch = link.send(_EPOCH)
            rows = link.rows(_SQL["cache_find"], key, now)
            check_epoch(epoch, view)
            for lineage_id, at, payload in rows:
                members = self._interner.members(link, lineage_id)
                if view.sees(members):
                    return Cached(payload, members, at)
            return None

        return self._database.read(look)

    def cache(self, key: bytes, payload: bytes, lineage: Lineage, now: float, ttl: float | None) -> None:
        """Keep an entry, and drop expired and then the oldest ones beyond the size cap."""

        def act(link: Link) -> int | None:
            if self._journal.purged_of(link, lineage):
                return None  # what a purge erased does not come back by way of a turn that was under way
            lineage_id = self._interner.intern(link, lineage)
            expires = None if ttl is None else now + ttl
            link.send(_SQL["cache_put"], key, lineage_id, now, expires, len(payload), payload)
            link.send(_SQL["cache_expired"], now)
            excess = link.one(_SQL["cache_bytes"])[0] - self._cache_bytes
            while excess > 0:
                for old_key, old_lineage, size in link.rows(_SQL["cache_oldest"]):
                    if excess > 0:
                        link.send(_SQL["cache_delete"], old_key, old_lineage)
                        excess -= size
            return lineage_id

        lineage_id = self._database.write("cache", act, lanes=[_CACHE_LANE], find=again)
        if lineage_id is not None:
            self._interner.learn(lineage, lineage_id)


_CACHE_LANE = 0  # one at a time: of two that make room at once, each would take the other's
