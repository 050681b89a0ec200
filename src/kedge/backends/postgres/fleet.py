"""Members of a PostgreSQL database: processes of any machine."""

import json
from collections.abc import Iterable

import msgspec

from kedge.backends.postgres.coalesce import Coalescer
from kedge.backends.postgres.database import Database, again
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.sql import queries
from kedge.model.fleet import FORGET_SECONDS, Standing, decode_standing

_SQL = queries("fleet")
_LEAVE_SECONDS = 3.0  # limit for a process that exits while the server is away; its lease then runs out


class PostgresFleet:
    """The members of one PostgreSQL database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._refreshes: Coalescer[str, Standing, int] = Coalescer(self._refresh)

    def refresh(self, member: Standing) -> int:
        """Record a member, and what it acknowledges and holds; return the control record's epoch.

        It takes no lanes: a refresh waits only for a change of the record that is being committed, for no append.
        It is on disk before it returns, whatever the durability: members outlive a crash of the server, and the lease
        of a member that it has lost would be ignored. Members of one process share a transaction.
        """
        return self._refreshes.call(member.uid, member)

    def _refresh(self, members: list[Standing]) -> int:
        columns = (
            [member.uid for member in members],
            [member.name for member in members],
            [member.host for member in members],
            [member.pid for member in members],
            [msgspec.json.encode(member.serves).decode() for member in members],
            [float(member.lease_seconds) for member in members],
            [member.epoch for member in members],
            [float(member.joined_at) for member in members],
            [float(member.at) for member in members],
            [msgspec.json.encode(member.held) for member in members],
            [json.dumps(member.code) for member in members],
        )
        return self._database.write("refresh", lambda link: int(link.one(_SQL["refresh"], *columns)[0]), find=again)

    def leave(self, uid: str) -> None:
        """Remove a member that has stopped serving."""

        def act(link: Link) -> None:
            link.send(_SQL["leave"], uid)
            link.send(_SQL["forget"], FORGET_SECONDS)

        self._database.write("leave", act, find=again, retry_seconds=_LEAVE_SECONDS)

    def members(self, behind: int | None = None) -> list[Standing]:
        """Return the members in order of joining, or those that have not acknowledged an epoch yet."""
        return [decode_standing(row) for row in self._database.ask(_SQL["members"], behind)]

    def count_out(self, uids: Iterable[str], epoch: int) -> None:
        """Mark members as expired, unless they have acknowledged the epoch meanwhile."""
        asked = sorted(uids)

        def act(link: Link) -> None:
            link.send(_SQL["count_out"], asked, epoch)
            link.send(_SQL["forget"], FORGET_SECONDS)

        self._database.write("count-out", act, find=again)
