"""Replay log on PostgreSQL."""

from collections.abc import Iterable

from kedge.backends.postgres.database import Database, again
from kedge.backends.postgres.sql import queries

_SQL = queries("replay_log")


class PostgresReplayLog:
    """The `ReplayLog` port of one PostgreSQL database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def replayed_upto(self, seqs: Iterable[int]) -> dict[int, int]:
        """Return, by input, the greatest turn that its replays replaced."""
        return dict(self._database.ask(_SQL["replayed_upto"], list(seqs)))

    def mark_replayed(self, seq: int, turn: int, uid: str) -> None:
        """Record that the turn `uid` replayed the input at `seq` in place of its hidden turns up to `turn`."""
        self._database.write("replayed", lambda link: link.send(_SQL["mark_replayed"], seq, turn, uid), find=again)
