"""Collection of unreferenced states on PostgreSQL, and their conversion from before the contested state."""

from functools import partial
from typing import Any

from kedge.backends.postgres.database import Database, again
from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.row_locks import ALL
from kedge.backends.postgres.sql import queries
from kedge.backends.postgres.states import States
from kedge.model.lineage import EMPTY
from kedge.model.states import CONTESTED, from_text, is_dead, to_text
from kedge.support.failpoints import reach

_SQL = queries("states")
_STATES_AT_ONCE = 1_000


class PostgresStateCollector:
    """The `StateCollector` port of one PostgreSQL database."""

    def __init__(self, database: Database, states: States) -> None:
        self._database = database
        self._states = states

    def collect(self) -> int:
        """Delete the retired states that no row is in, and retire unused ones; return how many were deleted."""
        if not self._database.read(lambda link: self._states.rule(link, EMPTY).contests):
            return 0  # older writers keep the ids of all states
        unused = self._database.ask(_SQL["unused"])
        gone = [ident for ident, is_retired in unused if is_retired]
        retiring = [ident for ident, is_retired in unused if not is_retired]

        def retire(link: Link) -> int:
            deleted = link.rows(_SQL["delete"], gone)
            link.send(_SQL["retire"], retiring)
            return len(deleted)

        # With all lanes, since a write in flight may have looked up a state that is retired here.
        return self._database.write("states", retire, lanes=ALL, find=again) if unused else 0


def announce(link: Link) -> None:
    """Add a contested state, if there is none: readers of older versions stop there, instead of reading on wrongly.

    The transaction holds all lanes. From here on ids are drawn from the sequence, and may leave holes.
    """
    link.send(_SQL["announce"], to_text(CONTESTED))
    link.send(_SQL["draw_on"])


def convert(database: Database, interner: Interner, states: States) -> int:
    """Move rows with several superseding lineages to the contested state, behind the fence; return how many."""

    def part(found: list[tuple[int, int, str]], link: Link) -> int:
        rule = states.rule(link, EMPTY)
        moves, plain = [], []
        for ident, lineage, text in found:
            own, above = interner.members_uncached(link, lineage), states.above(link, (lineage, from_text(text)))
            now = rule.superseded(own, (), above or ())
            moves.append((ident, states.intern(link, lineage, now if is_dead(now) else None, rule)))
            plain.append((ident, states.plain(link, lineage, rule)))
        columns = [list(column) for column in zip(*moves, strict=True)]
        rows = len(link.rows(_SQL["move_newest_heads"], *map(list, zip(*plain, strict=True))))
        rows += len(link.rows(_SQL["move_heads"], *columns)) + len(link.rows(_SQL["move_rows"], *columns))
        link.send(_SQL["move_counts"], *columns, ALL[0])
        reach("upgrade:converted")
        return rows

    several: list[Any] = database.ask(_SQL["states_with_several"])
    parts = (several[start : start + _STATES_AT_ONCE] for start in range(0, len(several), _STATES_AT_ONCE))
    return sum(database.write("upgrade", partial(part, found), lanes=ALL, find=again) for found in parts)
