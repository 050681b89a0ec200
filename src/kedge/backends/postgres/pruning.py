"""Pruning of bookkeeping rows on PostgreSQL."""

from collections.abc import Sequence

import msgspec

from kedge.backends.postgres.database import Database, again
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.row_locks import ALL
from kedge.backends.postgres.sql import queries
from kedge.model import control_log
from kedge.model.lineage import Lineage
from kedge.model.pruning import Horizon, Needed, Pruned
from kedge.ports.pruning import PRUNED_AT_ONCE
from kedge.support.failpoints import reach

_SQL = queries("pruning")
_IN_FLIGHT_MAX = 1_000  # ids of turns that were taken before the greatest one committed, and committed after it


class PostgresPruning:
    """The `Pruning` port of one PostgreSQL database. Its vacuum frees the space of what is deleted."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._looked = 0  # the last turn when idle sessions were looked for

    def calls(self, before: int, after: tuple[str, int]) -> tuple[int, tuple[str, int] | None]:
        """Forget idempotency keys of calls before a seq, a part of them."""
        asked = (before, *after, PRUNED_AT_ONCE)
        found = self._database.write("prune", lambda link: link.rows(_SQL["calls_delete"], *asked), find=again)
        return len(found), max(found) if len(found) == PRUNED_AT_ONCE else None

    def metrics(self, before: float) -> int:
        """Delete metric samples from before a moment, a part of them; return how many."""
        asked = (before, PRUNED_AT_ONCE)
        return len(self._database.write("prune", lambda link: link.rows(_SQL["samples_delete"], *asked), find=again))

    def pruned(self) -> Pruned:
        """Return what was pruned."""
        found = self._database.ask(_SQL["pruned"])
        return Pruned.decode(bytes(found[0][0]) if found else None)

    def note(self, *, reads_at: float | None = None, sessions_at: float | None = None) -> None:
        """Record up to which time a policy was applied."""

        def act(link: Link) -> None:
            before = _pruned(link)
            _set_pruned(
                link,
                msgspec.structs.replace(
                    before,
                    reads_at=before.reads_at if reads_at is None else reads_at,
                    sessions_at=before.sessions_at if sessions_at is None else sessions_at,
                ),
            )

        self._database.write("prune-note", act, lanes=ALL, find=again)

    # ── turns ──

    def last_turn(self) -> int:
        """Return the greatest id of a turn, or 0."""
        return int(self._database.ask(_SQL["last_turn"])[0][0])

    def callers(self, lineages: Sequence[int]) -> list[int]:
        """Return the turns of other lineages that called turns of these, directly or not."""
        return [row[0] for row in self._database.ask(_SQL["callers"], list(lineages))]

    def turns(self, first: int, upto: int, needed: Needed, horizon: Horizon, epoch: int) -> int:
        """Delete what turns with these ids read, whom they called, and the turns themselves; return how many rows."""
        asked = (
            first, upto, horizon.seq, horizon.at, list(needed.lineages), list(needed.callers), list(needed.held),
            list(needed.seen),
        )  # fmt: skip

        def act(link: Link) -> int:
            control_log.check_epoch(link.one(_SQL["epoch"])[0], epoch)
            found = link.rows(_SQL["prunable"], *asked)
            idents, uids = [row[0] for row in found], [row[1] for row in found]
            rows = len(link.rows(_SQL["reads_delete"], idents, horizon.seq))
            rows += len(link.rows(_SQL["edges_delete"], uids, horizon.at))
            reach("prune-turns:reads")
            rows += len(link.rows(_SQL["turns_delete"], idents, horizon.seq, list(needed.seen)))
            link.send(_SQL["fence_raise"])
            before = _pruned(link)
            _set_pruned(link, msgspec.structs.replace(before, reads=max(before.reads, horizon.seq)))
            return rows

        if not self._database.ask(_SQL["prunable"], *asked):
            return 0
        return self._database.write("prune-turns", act, lanes=ALL, find=again)

    # ── sessions ──

    def idle_sessions(self, horizon: Horizon) -> list[tuple[str, Lineage]]:
        """Return the sessions that began before the horizon and that no turn has written in since, and their bases."""

        def look(link: Link) -> list[tuple[str, Lineage]]:
            self._looked = link.one(_SQL["last_turn"])[0] - _IN_FLIGHT_MAX
            rows = link.rows(_SQL["idle_sessions"], horizon.seq, horizon.at)
            return [(session, control_log.decode_numbers(base)) for session, base in rows]

        return self._database.read(look)

    def forget(self, sessions: Sequence[str], horizon: Horizon, epoch: int) -> int:
        """Delete those of these sessions that are idle still, with their log entries; return how many."""

        def act(link: Link) -> int:
            control_log.check_epoch(link.one(_SQL["epoch"])[0], epoch)
            found = [
                row[0] for row in link.rows(_SQL["still_idle"], list(sessions), horizon.seq, self._looked, horizon.at)
            ]
            if not found:
                return 0
            entries = len(link.rows(_SQL["entries_delete"], found))
            reach("prune-sessions:entries")
            link.send(_SQL["sessions_delete"], found)
            before, last = _pruned(link), int(link.one(_SQL["last_seq"])[0])
            _set_pruned(link, msgspec.structs.replace(before, sessions=last, entries=before.entries + entries))
            return len(found)

        return self._database.write("prune-sessions", act, lanes=ALL, find=again)


def _pruned(link: Link) -> Pruned:
    row = link.row(_SQL["pruned"])
    return Pruned.decode(None if row is None else bytes(row[0]))


def _set_pruned(link: Link, pruned: Pruned) -> None:
    link.send(_SQL["set_pruned"], pruned.encode())
