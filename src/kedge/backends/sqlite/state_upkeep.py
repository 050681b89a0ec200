"""Collection of unreferenced states on SQLite, and their conversion from before the contested state."""

import json
import sqlite3

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.lineages import Interner
from kedge.backends.sqlite.sql import queries
from kedge.backends.sqlite.states import States
from kedge.model.lineage import EMPTY
from kedge.model.states import CONTESTED, is_dead, to_text
from kedge.support.failpoints import reach

_SQL = queries("states")
_STATES_AT_ONCE = 1_000


class SqliteStateCollector:
    """The `StateCollector` port of one SQLite database."""

    def __init__(self, database: Database, states: States) -> None:
        self._database = database
        self._states = states

    def collect(self) -> int:
        """Delete the retired states that no row is in, and retire unused ones; return how many were deleted."""
        with self._database.reading() as connection:
            if not self._states.rule(connection, EMPTY).contests:
                return 0  # older writers keep the ids of all states
            unused = connection.execute(_SQL["unused"]).fetchall()
        gone = json.dumps([ident for ident, is_retired in unused if is_retired])
        retiring = json.dumps([ident for ident, is_retired in unused if not is_retired])
        if not unused:
            return 0
        with self._database.writing("states") as connection:
            deleted = connection.execute(_SQL["delete"], (gone,)).rowcount
            reach("states:deleted")
            connection.execute(_SQL["retire"], (retiring,))
        return int(deleted)


def announce(connection: sqlite3.Connection) -> None:
    """Add a contested state, if there is none: readers of older versions stop there, instead of reading on wrongly."""
    connection.execute(_SQL["announce"], (to_text(CONTESTED),))


def convert(database: Database, interner: Interner, states: States) -> int:
    """Move rows with several superseding lineages to the contested state, behind the fence; return how many."""
    with database.reading() as connection:
        found = [row[0] for row in connection.execute(_SQL["states_with_several"])]
    return sum(
        _convert(database, interner, states, found[start : start + _STATES_AT_ONCE])
        for start in range(0, len(found), _STATES_AT_ONCE)
    )


def _convert(database: Database, interner: Interner, states: States, idents: list[int]) -> int:
    with database.writing("upgrade") as connection:
        rule = states.rule(connection, EMPTY)
        moves, plain = [], []
        for ident in idents:
            lineage = states.of(connection, ident)[0]
            own, above = interner.members_uncached(connection, lineage), states.above_uncached(connection, ident)
            now = rule.superseded(own, (), above or ())
            moves.append((ident, states.intern(connection, lineage, now if is_dead(now) else None, rule)))
            plain.append((ident, states.plain(connection, lineage)))
        rows = connection.execute(_SQL["move_newest_heads"], (json.dumps(plain),)).rowcount
        rows += connection.execute(_SQL["move_heads"], (json.dumps(moves),)).rowcount
        rows += connection.execute(_SQL["move_rows"], (json.dumps(moves),)).rowcount
        reach("upgrade:converted")
    return int(rows)
