"""Result cache in PostgreSQL."""

from kedge.backends.postgres.database import Database, again
from kedge.backends.postgres.journal import PostgresJournal
from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.reads import check_epoch
from kedge.backends.postgres.sql import queries
from kedge.model.lineage import Lineage
from kedge.model.visibility import View
from kedge.ports.cache import Cached

_SQL = queries("control")


_EPOCH = queries("journal")["epoch"]


class PostgresCache:
    """Cached results, capped at `cache_bytes` for the whole database."""

    def __init__(self, database: Database, interner: Interner, journal: PostgresJournal, cache_bytes: int) -> None:
        self._database = database
        self._interner = interner
        self._journal = journal
        self._cache_bytes = cache_bytes

    def find(self, view: View, key: bytes, now: float) -> list[Cached]:
        """Return the entries of a key that the view sees and that have not expired, newest first."""

        def look(link: Link) -> list[Cached]:
            found = []
            epoch = link.send(_EPOCH)
            rows = link.rows(_SQL["cache_find"], key, now)
            check_epoch(epoch, view)
            for lineage_id, at, payload in rows:
                members = self._interner.members(link, lineage_id)
                if view.sees(members):
                    found.append(Cached(payload, members, at))
            return found

        return self._database.read(look)

    def put(self, key: bytes, payload: bytes, lineage: Lineage, now: float, ttl: float | None) -> None:
        """Keep an entry, and drop expired and then the oldest ones beyond the size cap."""

        def act(link: Link) -> int | None:
            if self._journal.purged_of(link, lineage):
                return None  # a turn in progress must not bring back what a purge erased
            lineage_id = self._interner.intern(link, lineage)
            expires = None if ttl is None else now + ttl
            link.send(_SQL["cache_put"], key, lineage_id, now, expires, len(payload), payload)
            self._evict(link, now)
            return lineage_id

        lineage_id = self._database.write("cache", act, lanes=[_CACHE_LANE], find=again)
        if lineage_id is not None:
            self._interner.learn(lineage, lineage_id)

    def _evict(self, link: Link, now: float) -> None:
        """Drop some expired entries; beyond the cap all of them, and then the oldest ones."""
        excess, has_expired = 0, True
        while has_expired:
            expired = link.send(_SQL["cache_expired"], now)
            excess = link.one(_SQL["cache_bytes"])[0] - self._cache_bytes
            if excess <= 0:
                return
            has_expired = bool(expired.rowcount)
        while excess > 0:
            oldest = link.rows(_SQL["cache_oldest"])
            if not oldest:
                return  # the size is counted wrong, which fsck reports
            for key, lineage, size in oldest:
                if excess > 0:
                    link.send(_SQL["cache_delete"], key, lineage)
                    excess -= size


_CACHE_LANE = 0  # one eviction at a time: two would each evict what the other needs
