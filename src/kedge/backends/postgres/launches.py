"""Launches on PostgreSQL."""

from collections.abc import Callable

import msgspec

from kedge.backends.postgres.control import log_in
from kedge.backends.postgres.database import Database, again
from kedge.backends.postgres.journal import PostgresJournal
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.row_locks import lane_of
from kedge.backends.postgres.sql import queries
from kedge.model.control_log import NewEntry
from kedge.model.launches import (
    Advance,
    PilotLost,
    StoredLaunch,
    StoredRequest,
    decode_launch,
    decode_request,
)

_SQL = queries("launches")
_LOGGED = queries("control")["log_of_operation"]
_LANE = lane_of("launches")


class PostgresLaunches:
    """The `Launches` port of one PostgreSQL database. `given` is a time in place of the server's, or None."""

    def __init__(self, database: Database, journal: PostgresJournal, given: Callable[[], float | None]) -> None:
        self._database = database
        self._journal = journal
        self._given = given

    def now(self) -> float:
        """Return the server's time."""
        return float(self._database.ask(_SQL["now"], self._given())[0][0])

    def begin(self, launch: StoredLaunch, entry: NewEntry) -> bool:
        """Record a launch and an entry of the log; return False, and do nothing, where one of this name exists."""

        def find(link: Link) -> bool | None:
            return True if link.rows(_LOGGED, entry.operation) else None

        def act(link: Link) -> bool:
            begun = bool(link.rows(_SQL["begin"], *msgspec.structs.astuple(launch)))
            if begun:
                self._log(link, entry)
            return begun

        return self._database.write("launches", act, lanes=[_LANE], find=find)

    def get(self, name: str) -> StoredLaunch | None:
        """Return a launch, or None."""
        rows = self._database.ask(_SQL["get"], name)
        return decode_launch(rows[0]) if rows else None

    def all(self) -> list[StoredLaunch]:
        """Return all launches, the newest first."""
        return [decode_launch(row) for row in self._database.ask(_SQL["all"])]

    def blocking(self) -> list[str]:
        """Return the names of the launches for which promotions wait, in order of name."""
        return [name for (name,) in self._database.ask(_SQL["blocking"])]

    def acquire(self, name: str, holder: str, host: str, seconds: float) -> StoredLaunch | None:
        """Take or renew the lease, unless another one holds it; return the launch as it stands then."""

        def act(link: Link) -> StoredLaunch | None:
            link.send(_SQL["acquire"], name, holder, host, self._given(), float(seconds))
            row = link.row(_SQL["get"], name)
            return None if row is None else decode_launch(row)

        return self._database.write("launches-lease", act, find=again)

    def release(self, name: str, holder: str) -> None:
        """Give the lease back."""
        self._database.write("launches-lease", lambda link: link.send(_SQL["release"], name, holder), find=again)

    def advance(self, name: str, holder: str, version: int, to: Advance, entry: NewEntry) -> None:
        """Store the version after `version`, and an entry of the log; raise `PilotLost` for another holder."""

        def find(link: Link) -> bool | None:
            row = link.row(_SQL["get"], name)
            found = None if row is None else decode_launch(row)
            is_ours = found is not None and (found.holder, found.version) == (holder, version + 1)
            return True if is_ours else None

        def act(link: Link) -> bool:
            fields = (name, holder, version, to.state, to.phase, to.blocks, self._given(), to.is_done)
            if not link.rows(_SQL["advance"], *fields):
                raise PilotLost(f"the launch {name!r} has another pilot now")
            self._log(link, entry)
            return True

        self._database.write("launches", act, lanes=[_LANE], find=find)

    def mark_done(self, name: str, holder: str, version: int, trouble: str = "") -> None:
        """Record that the actions of a version are done, or why one was not; raise `PilotLost` for another holder."""

        def act(link: Link) -> None:
            if not link.rows(_SQL["mark_done"], name, holder, version, trouble):
                raise PilotLost(f"the launch {name!r} has another pilot now")

        self._database.write("launches-done", act, find=again)

    def ask(self, name: str, body: bytes, entry: NewEntry) -> int:
        """Record what a person asks, and an entry of the log; return its number."""

        def find(link: Link) -> int | None:
            row = link.row(_SQL["asked"], name, body)
            return None if row is None else int(row[0])

        def act(link: Link) -> int:
            number = int(link.one(_SQL["ask"], name, self._given(), body)[0])
            self._log(link, entry)
            return number

        return self._database.write("launches", act, lanes=[_LANE], find=find)

    def requests(self, name: str, after: int) -> list[StoredRequest]:
        """Return the requests of a launch after one, in order."""
        return [decode_request(row) for row in self._database.ask(_SQL["requests"], name, after)]

    def unblock(self, entry: NewEntry) -> list[str]:
        """Let promotions go on, and record an entry of the log where they did wait; return for which launches."""

        def act(link: Link) -> list[str]:
            found = [name for (name,) in link.rows(_SQL["blocking"])]
            if found:
                link.send(_SQL["unblock"])
                self._log(link, entry)
            return found

        return self._database.write("launches", act, lanes=[_LANE], find=again)

    def _log(self, link: Link, entry: NewEntry) -> None:
        drawn = self._journal.draw(link, 1)
        log_in(link, drawn, drawn.epoch, entry)
