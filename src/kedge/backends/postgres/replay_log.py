"""Replay log on PostgreSQL."""

from collections.abc import Iterable

from kedge.backends.postgres.database import Database, again
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.sql import queries

_SQL = queries("replay_log")


class PostgresReplayLog:
    """The `ReplayLog` port of one PostgreSQL database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def replayed_upto(self, seqs: Iterable[int]) -> dict[int, int]:
        """Return, by input, the greatest turn that its replays replaced."""
        return dict(self._database.ask(_SQL["replayed_upto"], list(seqs)))

    def holder(self, seq: int) -> str | None:
        """Return the text of the last claim or mark of an input."""
        rows = self._database.ask(_SQL["holder"], seq)
        return str(rows[0][0]) if rows else None

    def claim(self, seq: int, before: str | None, claim: str) -> bool:
        """Replace the text `before` by that of a claim; return whether the claim is the holder now."""

        def act(link: Link) -> None:
            if before is None:
                link.send(_SQL["claim_new"], seq, claim)
            else:
                link.send(_SQL["claim_from"], seq, before, claim)

        self._database.write("claimed", act, find=again)
        return self.holder(seq) == claim

    def release(self, seq: int, claim: str) -> None:
        """Remove the text of a claim where it is still there."""

        def act(link: Link) -> None:
            for step in ("release_new", "release"):
                link.send(_SQL[step], seq, claim)

        self._database.write("released", act, find=again)

    def mark_replayed(self, seq: int, turn: int, uid: str) -> None:
        """Record that the turn `uid` replayed the input at `seq` in place of its hidden turns up to `turn`."""
        self._database.write("replayed", lambda link: link.send(_SQL["mark_replayed"], seq, turn, uid), find=again)

    def forget_refused(self, uids: Iterable[str]) -> None:
        """Forget that derived writes were refused to these turns."""
        asked = list(uids)
        self._database.write("answered", lambda link: link.send(_SQL["forget_refused"], asked), find=again)
