"""Members of a SQLite database: processes of one machine."""

import json
from collections.abc import Iterable

import msgspec

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.sql import queries
from kedge.model.fleet import FORGET_SECONDS, Standing, decode_standing

_SQL = queries("fleet")


class SqliteFleet:
    """The members of one SQLite database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def refresh(self, member: Standing) -> int:
        """Record a member, and what it acknowledges and holds; return the control record's epoch."""
        row = (
            member.uid, member.name, member.host, member.pid, json.dumps(member.serves), member.lease_seconds,
            member.epoch, member.joined_at, member.at, msgspec.json.encode(member.held), json.dumps(member.code),
        )  # fmt: skip
        with self._database.writing("refresh", durable=False) as connection:
            connection.execute(_SQL["refresh"], row)
            connection.execute(_SQL["forget"], (member.at - FORGET_SECONDS,))
            return int(connection.execute(_SQL["epoch"]).fetchone()[0])

    def leave(self, uid: str) -> None:
        """Remove a member that has stopped serving."""
        with self._database.writing("leave", durable=False) as connection:
            connection.execute(_SQL["leave"], (uid,))

    def members(self, behind: int | None = None) -> list[Standing]:
        """Return the members in order of joining, or those that have not acknowledged an epoch yet."""
        with self._database.connection() as connection:
            return [decode_standing(row) for row in connection.execute(_SQL["members"], (behind,))]

    def count_out(self, uids: Iterable[str], epoch: int) -> None:
        """Mark members as expired, unless they have acknowledged the epoch meanwhile."""
        with self._database.writing("count-out", durable=False) as connection:
            connection.executemany(_SQL["count_out"], [(uid, epoch) for uid in uids])
