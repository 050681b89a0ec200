"""Pruning of bookkeeping rows on SQLite."""

import json
import sqlite3
from collections.abc import Sequence

import msgspec

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.reads import check_epoch
from kedge.backends.sqlite.sql import queries
from kedge.model.control_log import decode_numbers
from kedge.model.lineage import Lineage
from kedge.model.pruning import Horizon, Needed, Pruned
from kedge.ports.pruning import PRUNED_AT_ONCE
from kedge.support.failpoints import reach

_SQL = queries("pruning")


class SqlitePruning:
    """The `Pruning` port of one SQLite database. The file does not shrink: later rows take the free pages."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._looked = 0  # the last turn when idle sessions were looked for

    def calls(self, before: int, after: tuple[str, int]) -> tuple[int, tuple[str, int] | None]:
        """Forget idempotency keys of calls before a seq, a part of them."""
        found = self._database.ask(_SQL["calls_before"], before, *after, PRUNED_AT_ONCE)
        if found:
            with self._database.writing("prune") as connection:
                connection.executemany(_SQL["call_delete"], found)
        return len(found), found[-1] if len(found) == PRUNED_AT_ONCE else None

    def metrics(self, before: float) -> int:
        """Delete metric samples from before a moment, a part of them; return how many."""
        with self._database.writing("prune") as connection:
            return connection.execute(_SQL["samples_delete"], (before, PRUNED_AT_ONCE)).rowcount

    def pruned(self) -> Pruned:
        """Return what was pruned."""
        with self._database.connection() as connection:
            return _pruned(connection)

    def note(self, *, reads_at: float | None = None, sessions_at: float | None = None) -> None:
        """Record up to which time a policy was applied."""
        with self._database.writing("prune-note") as connection:
            before = _pruned(connection)
            _set_pruned(
                connection,
                msgspec.structs.replace(
                    before,
                    reads_at=before.reads_at if reads_at is None else reads_at,
                    sessions_at=before.sessions_at if sessions_at is None else sessions_at,
                ),
            )

    # ── turns ──

    def last_turn(self) -> int:
        """Return the greatest id of a turn, or 0."""
        return int(self._database.ask(_SQL["last_turn"])[0][0])

    def callers(self, lineages: Sequence[int]) -> list[int]:
        """Return the turns of other lineages that called turns of these, directly or not."""
        return [row[0] for row in self._database.ask(_SQL["callers"], json.dumps(list(lineages)))]

    def turns(self, first: int, upto: int, needed: Needed, horizon: Horizon, epoch: int) -> int:
        """Delete what turns with these ids read, whom they called, and the turns themselves; return how many rows."""
        asked = {
            "first": first, "upto": upto, "seq": horizon.seq, "at": horizon.at,
            "lineages": json.dumps(needed.lineages), "callers": json.dumps(needed.callers),
            "held": json.dumps(needed.held), "seen": json.dumps(needed.seen),
        }  # fmt: skip
        with self._database.reading() as connection:
            if connection.execute(_SQL["prunable"], asked).fetchone() is None:
                return 0
        with self._database.writing("prune-turns") as connection:
            check_epoch(connection, epoch)
            found = connection.execute(_SQL["prunable"], asked).fetchall()
            idents, uids = json.dumps([row[0] for row in found]), json.dumps([row[1] for row in found])
            rows = connection.execute(_SQL["reads_delete"], (idents, horizon.seq)).rowcount
            rows += connection.execute(_SQL["edges_delete"], (uids, horizon.at)).rowcount
            reach("prune-turns:reads")
            rows += connection.execute(_SQL["turns_delete"], (idents, horizon.seq, asked["seen"])).rowcount
            before = _pruned(connection)
            _set_pruned(connection, msgspec.structs.replace(before, reads=max(before.reads, horizon.seq)))
        return rows

    # ── sessions ──

    def idle_sessions(self, horizon: Horizon) -> list[tuple[str, Lineage]]:
        """Return the sessions that began before the horizon and that no turn has written in since, and their bases."""
        with self._database.reading() as connection:
            (self._looked,) = connection.execute(_SQL["last_turn"]).fetchone()
            rows = connection.execute(_SQL["idle_sessions"], (horizon.seq, horizon.at)).fetchall()
        return [(session, decode_numbers(base)) for session, base in rows]

    def forget(self, sessions: Sequence[str], horizon: Horizon, epoch: int) -> int:
        """Delete those of these sessions that are idle still, with their log entries; return how many."""
        asked = {
            "sessions": json.dumps(list(sessions), ensure_ascii=False), "seq": horizon.seq, "looked": self._looked,
        }  # fmt: skip
        with self._database.writing("prune-sessions") as connection:
            check_epoch(connection, epoch)
            found = [row[0] for row in connection.execute(_SQL["still_idle"], asked)]
            if not found:
                return 0
            chosen = (json.dumps(found, ensure_ascii=False),)
            entries = connection.execute(_SQL["entries_delete"], chosen).rowcount
            reach("prune-sessions:entries")
            connection.execute(_SQL["sessions_delete"], chosen)
            before, (last,) = _pruned(connection), connection.execute(_SQL["last_seq"]).fetchone()
            _set_pruned(connection, msgspec.structs.replace(before, sessions=last, entries=before.entries + entries))
        return len(found)


def _pruned(connection: sqlite3.Connection) -> Pruned:
    row = connection.execute(_SQL["pruned"]).fetchone()
    return Pruned.decode(None if row is None else row[0])


def _set_pruned(connection: sqlite3.Connection, pruned: Pruned) -> None:
    connection.execute(_SQL["set_pruned"], (pruned.encode(),))
