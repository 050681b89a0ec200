"""States: a row's lineage with the minimal set of lineages that supersede it, interned into one small integer.

They are all that decides where a row is head, so that "the heads of this view" is "the rows in these states": what is
hidden, superseded or deleted, under whatever lineage, is never walked over.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence

from kedge.backends.sqlite.lineages import Interner
from kedge.backends.sqlite.sql import queries
from kedge.model.lineage import EMPTY, Lineage, antichain
from kedge.model.visibility import View
from kedge.support.fork_lock import ForkSafeLock

_SQL = queries("states")
State = tuple[int, tuple[int, ...]]  # a lineage, and the lineages that supersede it


class States:
    """The table of states, cached as far as it is known to be committed. Ids are 1, 2, 3… and never change."""

    def __init__(self, interner: Interner) -> None:
        self._interner = interner
        self._lock = ForkSafeLock()
        self._known: list[State] = [(0, ())]  # by id; ids begin at 1
        self._ids: dict[State, int] = {}

    def intern(
        self, connection: sqlite3.Connection, lineage: int, superseders: Iterable[int], settled: Lineage = EMPTY
    ) -> int:
        """Return the id of a state, in a write transaction that may still fail; what is settled is left out of it."""
        state = (lineage, self._minimal(connection, superseders, settled))
        cached = self._ids.get(state)
        if cached is not None:
            return cached
        fields = (lineage, json.dumps(state[1]))
        found = connection.execute(_SQL["state_find"], fields).fetchone()
        if found is None:
            found = connection.execute(_SQL["state_insert"], fields).fetchone()
        return int(found[0])

    def _minimal(self, connection: sqlite3.Connection, lineages: Iterable[int], settled: Lineage) -> tuple[int, ...]:
        effective = (self._interner.members_uncached(connection, other) - settled for other in lineages)
        return tuple(sorted(self._interner.intern(connection, members) for members in antichain(effective)))

    def known(self, connection: sqlite3.Connection) -> Sequence[State]:
        """Return all states by id, those that a read transaction sees at least."""
        with self._lock:
            for ident, lineage, superseders in connection.execute(_SQL["states_after"], (len(self._known) - 1,)):
                state = (lineage, tuple(json.loads(superseders)))
                self._ids[state] = ident
                self._known.append(state)  # last: whoever is interrupted, or forked, before it begins here again
        return self._known

    def heads(self, connection: sqlite3.Connection, view: View, space: int) -> list[tuple[int, int]]:
        """Return (state, lineage) of the states of a space's heads whose rows are head in a present view."""
        known = self.known(connection)
        members = self._interner.members
        return [
            (ident, known[ident][0])
            for (ident,) in connection.execute(_SQL["states_of_heads"], (space,))
            if view.sees(members(connection, known[ident][0]))
            and not any(view.sees(members(connection, other)) for other in known[ident][1])
        ]
