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

    def holder(self, seq: int) -> str | None:
        """Return the text of the last claim or mark of an input."""
        rows = self._database.ask(_SQL["holder"], seq)
        return str(rows[0][0]) if rows else None

    def claim(self, seq: int, before: str | None, claim: str) -> bool:
        """Replace the text `before` by that of a claim; return whether the claim is the holder now."""
        with self._database.writing("claimed") as connection:
            if before is None:
                connection.execute(_SQL["claim_new"], (seq, claim))
            else:
                connection.execute(_SQL["claim_from"], (seq, before, claim))
        return self.holder(seq) == claim

    def release(self, seq: int, claim: str) -> None:
        """Remove the text of a claim where it is still there."""
        with self._database.writing("released") as connection:
            for step in ("release_new", "release"):
                connection.execute(_SQL[step], (seq, claim))

    def mark_replayed(self, seq: int, turn: int, uid: str) -> None:
        """Record that the turn `uid` replayed the input at `seq` in place of its hidden turns up to `turn`."""
        with self._database.writing("replayed") as connection:
            connection.execute(_SQL["mark_replayed"], (seq, turn, uid))

    def forget_refused(self, uids: Iterable[str]) -> None:
        """Forget that derived writes were refused to these turns."""
        with self._database.writing("answered") as connection:
            connection.execute(_SQL["forget_refused"], (json.dumps(list(uids)),))
