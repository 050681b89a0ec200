"""Table of states in SQLite; see `kedge.model.states`."""

import sqlite3
from collections.abc import Iterable, Sequence

from kedge.backends.sqlite.lineages import Interner
from kedge.backends.sqlite.sql import queries
from kedge.model.lineage import EMPTY, Lineage
from kedge.model.states import RowClass, State, StateTable, classify, deciding, minimal, to_text
from kedge.model.visibility import View
from kedge.support.fork_lock import ForkSafeLock

_SQL = queries("states")


class States:
    """The table of states, with a cache of those that are known to be committed."""

    def __init__(self, interner: Interner) -> None:
        self._interner = interner
        self._lock = ForkSafeLock()
        self._table = StateTable()

    def intern(
        self, connection: sqlite3.Connection, lineage: int, superseders: Iterable[int], settled: Lineage = EMPTY
    ) -> int:
        """Return the id of a state without its settled members, in a write transaction that may still fail."""
        members = (self._interner.members_uncached(connection, other) for other in superseders)
        by = tuple(sorted(self._interner.intern(connection, others) for others in minimal(members, settled)))
        cached = self._table.ids.get((lineage, by))
        if cached is not None:
            return cached
        fields = (lineage, to_text(by))
        found = connection.execute(_SQL["state_find"], fields).fetchone()
        if found is None:
            found = connection.execute(_SQL["state_insert"], fields).fetchone()
        return int(found[0])

    def known(self, connection: sqlite3.Connection) -> Sequence[State]:
        """Return all states by id: at least those that a read transaction sees."""
        with self._lock:
            self._table.learn(connection.execute(_SQL["states_after"], (self._table.last,)))
        return self._table.known

    def class_of(self, connection: sqlite3.Connection, view: View, state: State) -> RowClass:
        """Return the class of a state's rows in a present view."""
        lineage, superseders = state
        members = self._interner.members
        return classify(view, members(connection, lineage), (members(connection, other) for other in superseders))

    def deciding(self, connection: sqlite3.Connection, view: View, idents: Iterable[int]) -> frozenset[Lineage]:
        """Return the lineages that decide which rows in these states are head in a present view."""
        known, members = self.known(connection), self._interner.members
        found: set[Lineage] = set()
        for lineage, superseders in (known[ident] for ident in idents):
            above = [members(connection, other) for other in superseders]
            found |= deciding(view, members(connection, lineage), above)
        return frozenset(found)

    def heads(self, connection: sqlite3.Connection, view: View, space: int) -> list[tuple[int, int]]:
        """Return (state, lineage) of the states of a space's heads whose rows are head in a present view."""
        known = self.known(connection)
        return [
            (ident, known[ident][0])
            for (ident,) in connection.execute(_SQL["states_of_heads"], (space,))
            if self.class_of(connection, view, known[ident]) is RowClass.HEAD
        ]
