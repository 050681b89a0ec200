"""Interning of lineages and spaces as small integers."""

import json
import sqlite3
from collections.abc import Iterable

import msgspec

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.sql import queries
from kedge.errors import Corruption
from kedge.model.lineage import EMPTY, Lineage

_SQL = queries("journal")
SEEN_CACHED_MAX = 1_000
_MEMBERS = msgspec.json.Decoder(list[int])


class Interner:
    """Both tables with caches. Only committed ids are cached: a failed commit's ids are assigned again."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Empty the caches: a transaction that failed may have shown its ids to others that shared it."""
        self._members: dict[int, Lineage] = {0: EMPTY}
        self._lineage_ids: dict[Lineage, int] = {EMPTY: 0}
        self._space_ids: dict[tuple[str, str], int] = {}
        self._seen_ids: dict[Lineage, int] = {EMPTY: 0}
        self._wanted: set[int] = set()  # looked up by write transactions, which may have made them

    def members(self, connection: sqlite3.Connection, lineage_id: int) -> Lineage:
        """Return the set of an id, from the cache or the table."""
        cached = self._members.get(lineage_id)
        if cached is not None:
            return cached
        row = connection.execute(_SQL["lineage_members"], (lineage_id,)).fetchone()
        if row is None:
            raise Corruption(f"lineage {lineage_id} is not in the lineage table; run `kedge fsck`")
        lineage = frozenset(json.loads(row[0]))
        self.learn(lineage, lineage_id)
        return lineage

    def load(self, connection: sqlite3.Connection, lineage_ids: Iterable[int]) -> None:
        """Cache the sets of committed ids, in a read transaction: one query for many."""
        missing = json.dumps([lineage for lineage in lineage_ids if lineage not in self._members])
        for ident, members in connection.execute(_SQL["lineages_members"], (missing,)):
            self.learn(frozenset(_MEMBERS.decode(members)), ident)

    def catch_up(self, database: Database) -> None:
        """Cache what earlier write transactions looked up, where it is committed; call it outside of one."""
        wanted, self._wanted = self._wanted, set()
        if wanted:
            with database.connection() as connection:
                self.load(connection, wanted)

    def members_uncached(self, connection: sqlite3.Connection, lineage_id: int) -> Lineage:
        """Return the set of an id that this transaction may have made: it is not cached yet."""
        cached = self._members.get(lineage_id)
        if cached is not None:
            return cached
        self._wanted.add(lineage_id)
        return frozenset(json.loads(connection.execute(_SQL["lineage_members"], (lineage_id,)).fetchone()[0]))

    def intern(self, connection: sqlite3.Connection, lineage: Lineage) -> int:
        """Return the id of a set, in a write transaction that may still fail."""
        cached = self._lineage_ids.get(lineage)
        if cached is not None:
            return cached
        text = json.dumps(sorted(lineage))
        row = connection.execute(_SQL["lineage_id"], (text,)).fetchone()
        if row is None:
            row = connection.execute(_SQL["lineage_insert"], (text,)).fetchone()
            connection.executemany(_SQL["lineage_member_insert"], [(number, row[0]) for number in lineage])
        return int(row[0])

    def intern_seen(self, connection: sqlite3.Connection, seen: Lineage) -> int:
        """Return the id of the deployments that a turn saw, in a write transaction that may still fail."""
        cached = self._seen_ids.get(seen)
        if cached is not None:
            return cached
        text = json.dumps(sorted(seen))
        row = connection.execute(_SQL["seen_id"], (text,)).fetchone()
        if row is None:
            row = connection.execute(_SQL["seen_insert"], (text,)).fetchone()
        return int(row[0])

    def look_up_seen(self, database: Database, seen: Lineage) -> None:
        """Cache the id of a set, outside of a write transaction, where it has a committed one."""
        if seen in self._seen_ids:
            return
        found = database.ask(_SQL["seen_id"], json.dumps(sorted(seen)))
        if found:
            if len(self._seen_ids) >= SEEN_CACHED_MAX:
                self._seen_ids = {EMPTY: 0}
            self._seen_ids[seen] = int(found[0][0])

    def learn(self, lineage: Lineage, lineage_id: int) -> None:
        """Cache a committed id."""
        self._members[lineage_id] = lineage
        self._lineage_ids[lineage] = lineage_id

    def space(self, connection: sqlite3.Connection, store: str, space: str) -> int | None:
        """Return the id of a space, or None where nothing was ever written to it."""
        cached = self._space_ids.get((store, space))
        if cached is not None or connection.in_transaction:
            return cached if cached is not None else self._find_space(connection, store, space)
        found = self._find_space(connection, store, space)
        if found is not None:
            self._space_ids[store, space] = found
        return found

    def _find_space(self, connection: sqlite3.Connection, store: str, space: str) -> int | None:
        row = connection.execute(_SQL["space_id"], (store, space)).fetchone()
        return None if row is None else int(row[0])

    def intern_space(self, connection: sqlite3.Connection, store: str, space: str) -> int:
        """Return the id of a space, in a write transaction that may still fail."""
        found = self.space(connection, store, space)
        if found is None:
            found = int(connection.execute(_SQL["space_insert"], (store, space)).fetchone()[0])
        return found

    def learn_space(self, store: str, space: str, space_id: int) -> None:
        """Cache the committed id of a space."""
        self._space_ids[store, space] = space_id
