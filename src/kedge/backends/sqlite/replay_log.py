"""Replay log on SQLite."""

import json
from collections.abc import Iterable

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.sql import queries

_SQL = queries("replay_log")


class SqliteReplayLog:
    """The `ReplayLog` port of one SQLite database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def replayed_upto(self, seqs: Iterable[int]) -> dict[int, int]:
        """Return, by input, the greatest turn that its replays replaced."""
        return dict(self._database.ask(_SQL["replayed_upto"], json.dumps(list(seqs))))

    def mark_replayed(self, seq: int, turn: int, uid: str) -> None:
        """Record that the turn `uid` replayed the input at `seq` in place of its hidden turns up to `turn`."""
        with self._database.writing("replayed") as connection:
            connection.execute(_SQL["mark_replayed"], (seq, turn, uid))
