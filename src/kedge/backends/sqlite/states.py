"""Table of states in SQLite; see `kedge.model.states`."""

import json
import sqlite3
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.lineages import Interner
from kedge.backends.sqlite.sql import queries
from kedge.model.lineage import Lineage
from kedge.model.states import (
    CONTESTED,
    PLAIN,
    STATES_MAX,
    Above,
    RowClass,
    Rule,
    Standing,
    State,
    StateTable,
    classify,
    from_text,
    is_lasting,
    is_newest,
    to_text,
)
from kedge.model.upgrade import CONTESTED_SINCE
from kedge.model.visibility import View
from kedge.support.fork_lock import ForkSafeLock

_SQL = queries("states")
_VIEWS_CACHED = 64
UNKNOWN = -1  # the class of a state that was not asked for
_NO_CLASSES = np.empty(0, np.int8)
Bytes = npt.NDArray[np.int8]
Ints = npt.NDArray[np.int64]


class States:
    """The table of states, with a cache of those that are known to be committed."""

    def __init__(self, interner: Interner) -> None:
        self._interner = interner
        self._lock = ForkSafeLock()
        self._table = StateTable()
        self._contests = False
        self._classes: dict[tuple[Lineage, Lineage], Bytes] = {}
        self._wanted: set[int] = set()  # looked up by write transactions, which may have made them

    # ── writing ──

    def rule(self, connection: sqlite3.Connection, settled: Lineage) -> Rule:
        """Return the rule by which a write transaction chooses states."""
        if not self._contests:  # the fence is never lowered
            self._contests = Database.min_writer(connection) >= CONTESTED_SINCE
        return Rule(settled, self._contests)

    def plain(self, connection: sqlite3.Connection, lineage: int) -> int:
        """Return the id of the state that nothing supersedes, in a write transaction that may still fail."""
        cached = self._table.lasting.get((lineage, PLAIN))
        return self._lasting(connection, (lineage, PLAIN)) if cached is None else cached

    def intern(self, connection: sqlite3.Connection, lineage: int, above: Above, rule: Rule) -> int:
        """Return the id of a state, in a write transaction that may still fail."""
        if above is None:
            return self._lasting(connection, (lineage, CONTESTED))
        superseders = tuple(sorted(self._interner.intern(connection, members) for members in above))
        if is_lasting(superseders):
            return self._lasting(connection, (lineage, superseders))
        fields = (lineage, to_text(superseders))
        found = connection.execute(_SQL["state_find"], fields).fetchone()
        if found is not None and not found[1]:
            return int(found[0])
        if rule.contests:
            (there,) = connection.execute(_SQL["states_of"], (lineage,)).fetchone()
            if found is not None or there >= STATES_MAX:
                return self._lasting(connection, (lineage, CONTESTED))
        return int(connection.execute(_SQL["state_insert"], fields).fetchone()[0])

    def _lasting(self, connection: sqlite3.Connection, state: State) -> int:
        cached = self._table.lasting.get(state)
        if cached is not None:
            return cached
        fields = (state[0], to_text(state[1]))
        found = connection.execute(_SQL["state_find"], fields).fetchone()
        return int((found or connection.execute(_SQL["state_insert"], fields).fetchone())[0])

    def of(self, connection: sqlite3.Connection, ident: int) -> State:
        """Return a state that this transaction may have made."""
        known = self._table.known.get(ident)
        if known is not None:
            return known
        self._wanted.add(ident)
        lineage, text = connection.execute(_SQL["state"], (ident,)).fetchone()
        return int(lineage), from_text(text)

    def above_uncached(self, connection: sqlite3.Connection, ident: int) -> Above:
        """Return what supersedes the rows of a state that this transaction may have made."""
        superseders = self.of(connection, ident)[1]
        if superseders is None:
            return None
        return [self._interner.members_uncached(connection, other) for other in superseders]

    # ── reading ──

    def catch_up(self, database: Database) -> None:
        """Cache what earlier write transactions looked up, where it is committed; call it outside of one."""
        wanted, self._wanted = self._wanted, set()
        if wanted:
            with database.connection() as connection:
                self.known(connection, wanted)
        self._interner.catch_up(database)

    def known(self, connection: sqlite3.Connection, idents: Iterable[int]) -> Mapping[int, State]:
        """Return all known states by id: at least those of these that a read transaction sees."""
        missing = [ident for ident in idents if ident not in self._table.known]
        if missing:
            self._learn(connection, _SQL["states_by_id"], missing)
        return self._table.known

    def plain_of(self, connection: sqlite3.Connection, lineages: Iterable[int]) -> dict[int, int]:
        """Return the plain states of lineages, those that there are, with their lineages."""
        asked, lasting = list(lineages), self._table.lasting
        missing = [lineage for lineage in asked if (lineage, PLAIN) not in lasting]
        if missing:
            self._learn(connection, _SQL["plain_states"], missing)
        states = ((lasting.get((lineage, PLAIN)), lineage) for lineage in asked)
        return {ident: lineage for ident, lineage in states if ident is not None}

    def _learn(self, connection: sqlite3.Connection, sql: str, asked: list[int]) -> None:
        added = connection.execute(sql, (json.dumps(asked),)).fetchall()
        with self._lock.here:
            self._table.learn(added)
        states = [self._table.known[ident] for ident, *_ in added]
        self._interner.load(connection, {one for lineage, above in states for one in (lineage, *(above or ()))})

    def above(self, connection: sqlite3.Connection, state: State) -> Above:
        """Return what supersedes the rows of a committed state."""
        members = self._interner.members
        return None if state[1] is None else [members(connection, other) for other in state[1]]

    def class_of(self, connection: sqlite3.Connection, view: View, state: State) -> RowClass:
        """Return the class of a state's rows in a present view."""
        return classify(view, self._interner.members(connection, state[0]), self.above(connection, state))

    def classes(self, connection: sqlite3.Connection, view: View, idents: Ints) -> Bytes:
        """Return the classes of states in a present view, by id: those of `idents`, at least, are known.

        It returns the array of the last call if that has them all.
        """
        key, size = (view.seen, view.settled), int(idents.max(initial=-1)) + 1
        table = self._classes.get(key, _NO_CLASSES)
        missing = idents if len(table) < size else idents[table[idents] == UNKNOWN]
        if not len(missing):
            return table
        known = self.known(connection, missing.tolist())
        with self._lock.here:
            before = self._classes.get(key, _NO_CLASSES)  # another thread may have added some
            table = np.full(max(size, len(before)), UNKNOWN, np.int8)
            table[: len(before)] = before
            for ident in missing.tolist():
                table[ident] = self.class_of(connection, view, known[ident])
            if len(self._classes) > _VIEWS_CACHED:
                self._classes.clear()
            self._classes[key] = table
        return table

    def standing(self, connection: sqlite3.Connection, view: View, space: int) -> Standing:
        """Return the states of a space's heads whose rows are, or may be, head in a present view."""
        present = np.array(connection.execute(_SQL["states_of_heads"], (space,)).fetchall(), np.int64).ravel()
        classes = self.classes(connection, view, present)[present]
        known = self._table.known

        def of(row_class: RowClass) -> dict[int, int]:
            return {ident: known[ident][0] for ident in present[classes == row_class].tolist()}

        hidden = (known[ident] for ident in present[classes == RowClass.HIDDEN].tolist())
        return Standing(of(RowClass.HEAD), of(RowClass.CONTESTED) if any(map(is_newest, hidden)) else {})
