"""Interning of lineages and spaces as small integers."""

import json
from collections.abc import Iterable
from heapq import nlargest

from kedge.backends.postgres.database import Database
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.sql import queries
from kedge.errors import Corruption
from kedge.model.lineage import EMPTY, Lineage

_SQL = queries("journal")
_ASKED_MAX = 1_000
_SEEN_CACHED_MAX = 1_000


class Interner:
    """Both tables with caches, which hold committed ids only."""

    def __init__(self) -> None:
        self._members: dict[int, Lineage] = {0: EMPTY}
        self._lineage_ids: dict[Lineage, int] = {EMPTY: 0}
        self._space_ids: dict[tuple[str, str], int] = {}
        self._seen_ids: dict[Lineage, int] = {EMPTY: 0}

    def is_cached(self, lineage_id: int) -> bool:
        """Return whether the set of an id is cached."""
        return lineage_id in self._members

    def members(self, link: Link | None, lineage_id: int) -> Lineage:
        """Return the set of a committed id; without a link, of a cached one."""
        cached = self._members.get(lineage_id)
        if cached is not None or link is None:
            return self._members[lineage_id]
        lineage = self.members_uncached(link, lineage_id)
        self.learn(lineage, lineage_id)
        return lineage

    def load(self, link: Link, lineage_ids: Iterable[int]) -> None:
        """Cache the sets of committed ids, in a read transaction: one query for many."""
        missing = {lineage for lineage in lineage_ids if lineage not in self._members}
        for ident, members in link.rows(_SQL["lineages_members"], list(missing)) if missing else ():
            self.learn(frozenset(json.loads(members)), ident)

    def members_uncached(self, link: Link, lineage_id: int) -> Lineage:
        """Return the set of an id that this transaction may have made: it is not cached yet."""
        cached = self._members.get(lineage_id)
        if cached is not None:
            return cached
        row = link.row(_SQL["lineage_members"], lineage_id)
        if row is None:
            raise Corruption(f"lineage {lineage_id} is not in the lineage table; run `kedge fsck`")
        return frozenset(json.loads(row[0]))

    def intern(self, link: Link, lineage: Lineage) -> int:
        """Return the id of a set, in a write transaction that may still fail."""
        cached = self._lineage_ids.get(lineage)
        if cached is not None:
            return cached
        text = json.dumps(sorted(lineage))
        row = link.row(_SQL["lineage_id"], text)
        if row is None:
            row = link.row(_SQL["lineage_insert"], text)
            if row is None:  # another transaction has committed it in between
                return int(link.one(_SQL["lineage_id"], text)[0])
            link.send(_SQL["lineage_members_insert"], sorted(lineage), row[0])
        return int(row[0])

    def intern_seen(self, link: Link, seen: Lineage) -> int:
        """Return the id of the deployments that a turn saw, in a write transaction that may still fail."""
        cached = self._seen_ids.get(seen)
        if cached is not None:
            return cached
        text = json.dumps(sorted(seen))
        row = link.row(_SQL["seen_id"], text)
        if row is None:
            made = link.row(_SQL["seen_insert"], text)  # None: another transaction has committed it in between
            return int((made or link.one(_SQL["seen_id"], text))[0])
        return int(row[0])

    def look_up_seen(self, database: Database, seen: Lineage) -> None:
        """Cache the id of a set, outside of a write transaction, where it has a committed one."""
        if seen in self._seen_ids:
            return
        found = database.ask(_SQL["seen_id"], json.dumps(sorted(seen)))
        if found:
            if len(self._seen_ids) >= _SEEN_CACHED_MAX:
                self._seen_ids = {EMPTY: 0}
            self._seen_ids[seen] = int(found[0][0])

    def learn(self, lineage: Lineage, lineage_id: int) -> None:
        """Cache a committed id."""
        self._members[lineage_id] = lineage
        self._lineage_ids[lineage] = lineage_id

    def missing(self, link: Link) -> str | None:
        """Return a cached id that the server has lost or reassigned, or None; it checks the newest."""
        newest = nlargest(_ASKED_MAX, list(self._members.items()), key=lambda item: item[0])
        lineages = [(ident, json.dumps(sorted(members))) for ident, members in newest]
        for (ident,) in link.rows(_SQL["lineages_missing"], *map(list, zip(*lineages, strict=True))):
            return f"lineage {ident}"
        sets = [(ident, json.dumps(sorted(seen))) for seen, ident in list(self._seen_ids.items())]
        for (ident,) in link.rows(_SQL["seen_missing"], *map(list, zip(*sets, strict=True))):
            return f"the set of seen deployments {ident}"
        places = nlargest(_ASKED_MAX, list(self._space_ids.items()), key=lambda item: item[1])
        spaces = [(ident, *place) for place, ident in places]
        for store, space in link.rows(_SQL["spaces_missing"], *map(list, zip(*spaces, strict=True))) if spaces else ():
            return f"the space {space!r} of {store}"
        return None

    def cached_lineage(self, lineage: Lineage) -> int | None:
        """Return the id of a set if it is cached."""
        return self._lineage_ids.get(lineage)

    def cached_space(self, store: str, space: str) -> int | None:
        """Return the id of a space if it is cached."""
        return self._space_ids.get((store, space))

    def space(self, link: Link, store: str, space: str) -> int | None:
        """Return the id of a space in a read transaction, or None where nothing was ever written to it."""
        found = self.space_uncached(link, store, space)
        if found is not None:
            self._space_ids[store, space] = found
        return found

    def space_uncached(self, link: Link, store: str, space: str) -> int | None:
        """Return the id of a space that this transaction may have made: it is not cached yet."""
        cached = self._space_ids.get((store, space))
        if cached is not None:
            return cached
        row = link.row(_SQL["space_id"], store, space)
        return None if row is None else int(row[0])

    def intern_space(self, link: Link, store: str, space: str) -> int:
        """Return the id of a space, in a write transaction that may still fail."""
        found = self.space_uncached(link, store, space)
        if found is None:
            made = link.row(_SQL["space_insert"], store, space)
            found = int((made or link.one(_SQL["space_id"], store, space))[0])
        return found

    def learn_space(self, store: str, space: str, space_id: int) -> None:
        """Cache the committed id of a space."""
        self._space_ids[store, space] = space_id
