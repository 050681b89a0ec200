"""The members of one PostgreSQL database: processes of any machine."""

import json
from collections.abc import Iterable

import msgspec

from kedge.backends.postgres.database import Database, again
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.sql import queries
from kedge.model.fleet import FORGET_SECONDS, Held, Standing

_SQL = queries("fleet")
_LEAVE_SECONDS = 3.0  # whoever ends is not held up for longer by a server that is away: its lease is waited out
_HELD = msgspec.json.Decoder(tuple[Held, ...])


class PostgresFleet:
    """The members of one PostgreSQL database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def refresh(self, member: Standing) -> int:
        """Record that a member is there, and what it acknowledges and holds; return the control record's epoch.

        No lanes: a refresh waits for no append, however long, only for a change of the record that is being committed.
        It is on disk before it is answered, whatever the durability, since members outlive a crash of their server:
        one that was forgotten would hold a lease that nobody waits for.
        """

        def act(link: Link) -> int:
            link.send(_SQL["durable"])
            epoch = link.send(_SQL["epoch"])
            link.send(
                _SQL["refresh"], member.uid, member.name, member.host, member.pid, list(member.serves),
                float(member.lease_seconds), member.epoch, float(member.joined_at), float(member.at),
                msgspec.json.encode(member.held), json.dumps(member.code),
            )  # fmt: skip
            link.send(_SQL["forget"], member.at - FORGET_SECONDS)
            link.wait()
            return int(epoch.fetchall()[0][0])

        return self._database.write("refresh", act, find=again)

    def leave(self, uid: str) -> None:
        """Forget a member: it serves nothing any more, by its own word."""
        leave = _SQL["leave"]
        self._database.write("leave", lambda link: link.send(leave, uid), find=again, retry_seconds=_LEAVE_SECONDS)

    def members(self) -> list[Standing]:
        """Return the members in the order in which they joined."""
        return [
            Standing(
                uid, name, host, pid, tuple(serves), lease_seconds, epoch, joined_at, at, expired, _HELD.decode(held),
                json.loads(code),
            )
            for uid, name, host, pid, serves, lease_seconds, epoch, joined_at, at, expired, held, code
            in self._database.ask(_SQL["members"])
        ]  # fmt: skip

    def count_out(self, uids: Iterable[str], epoch: int) -> None:
        """Record that these members hold no lease, unless they have acknowledged the epoch meanwhile."""
        asked = sorted(uids)
        self._database.write("count-out", lambda link: link.send(_SQL["count_out"], asked, epoch), find=again)
