"""Result cache in SQLite."""

import sqlite3
from typing import Any

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.journal import SqliteJournal
from kedge.backends.sqlite.lineages import Interner
from kedge.backends.sqlite.reads import check_epoch
from kedge.backends.sqlite.sql import queries
from kedge.model.lineage import Lineage
from kedge.model.visibility import View
from kedge.ports.cache import Cached

_SQL = queries("control")


class SqliteCache:
    """Cached results, capped at `cache_bytes` for the whole database."""

    def __init__(self, database: Database, interner: Interner, journal: SqliteJournal, cache_bytes: int) -> None:
        self._database = database
        self._interner = interner
        self._journal = journal
        self._cache_bytes = cache_bytes

    def find(self, view: View, key: bytes, now: float) -> list[Cached]:
        """Return the entries of a key that the view sees and that have not expired, newest first."""
        found = []
        with self._database.reading() as connection:
            check_epoch(connection, view.epoch)
            for lineage_id, at, payload in connection.execute(_SQL["cache_find"], (key, now)).fetchall():
                members = self._interner.members(connection, lineage_id)
                if view.sees(members):
                    found.append(Cached(payload, members, at))
        return found

    def put(self, key: bytes, payload: bytes, lineage: Lineage, now: float, ttl: float | None) -> None:
        """Keep an entry, and drop expired and then the oldest ones beyond the size cap."""
        with self._database.writing("cache", shares=True) as connection:
            if self._journal.purged_of(connection, lineage):
                return  # a turn in progress must not bring back what a purge erased
            lineage_id = self._interner.intern(connection, lineage)
            expires = None if ttl is None else now + ttl
            connection.execute(_SQL["cache_put"], (key, lineage_id, now, expires, len(payload), payload))
            self._evict(connection, now)
        self._interner.learn(lineage, lineage_id)

    def _evict(self, connection: sqlite3.Connection, now: float) -> None:
        """Drop some expired entries; beyond the cap all of them, and then the oldest ones."""
        excess, has_expired = 0, True
        while has_expired:
            has_expired = bool(connection.execute(_SQL["cache_expired"], (now,)).rowcount)
            excess = connection.execute(_SQL["cache_bytes"]).fetchone()[0] - self._cache_bytes
            if excess <= 0:
                return
        while excess > 0:
            oldest: list[Any] = connection.execute(_SQL["cache_oldest"]).fetchall()
            if not oldest:
                return  # the size is counted wrong, which fsck reports
            for key, lineage, size in oldest:
                if excess > 0:
                    connection.execute(_SQL["cache_delete"], (key, lineage))
                    excess -= size
