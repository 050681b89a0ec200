"""Members of a PostgreSQL database: processes of any machine."""

import json
from collections.abc import Iterable

import msgspec

from kedge.backends.postgres.coalesce import Together
from kedge.backends.postgres.database import Database, again
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.sql import queries
from kedge.model.fleet import FORGET_SECONDS, Standing, decode_standing

_SQL = queries("fleet")
_LEAVE_SECONDS = 3.0  # whoever ends is not held up for longer by a server that is away: its lease is waited out


class PostgresFleet:
    """The members of one PostgreSQL database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._refreshes: Together[str, Standing, int] = Together(self._refresh)

    def refresh(self, member: Standing) -> int:
        """Record that a member is there, and what it acknowledges and holds; return the control record's epoch.

        No lanes: a refresh waits for no append, however long, only for a change of the record that is being committed.
        It is on disk before it is answered, whatever the durability, since members outlive a crash of their server:
        one that was forgotten would hold a lease that nobody waits for. Members of one process share a transaction.
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
        """Forget a member: it serves nothing any more, by its own word."""

        def act(link: Link) -> None:
            link.send(_SQL["leave"], uid)
            link.send(_SQL["forget"], FORGET_SECONDS)

        self._database.write("leave", act, find=again, retry_seconds=_LEAVE_SECONDS)

    def members(self, behind: int | None = None) -> list[Standing]:
        """Return the members in the order in which they joined, or those that have not acknowledged an epoch yet."""
        return [decode_standing(row) for row in self._database.ask(_SQL["members"], behind)]

    def count_out(self, uids: Iterable[str], epoch: int) -> None:
        """Record that these members hold no lease, unless they have acknowledged the epoch meanwhile."""
        asked = sorted(uids)

        def act(link: Link) -> None:
            link.send(_SQL["count_out"], asked, epoch)
            link.send(_SQL["forget"], FORGET_SECONDS)

        self._database.write("count-out", act, find=again)
