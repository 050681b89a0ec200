"""Launches on SQLite."""

import sqlite3

import msgspec

from kedge.backends.sqlite.control import log_in
from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.journal import next_position
from kedge.backends.sqlite.sql import queries
from kedge.model.control_log import NewEntry
from kedge.model.launches import (
    Advance,
    PilotLost,
    StoredLaunch,
    StoredRequest,
    decode_launch,
    decode_request,
)
from kedge.ports.clock import Clock

_SQL = queries("launches")
_EPOCH = "SELECT epoch FROM control"


class SqliteLaunches:
    """The `Launches` port of one SQLite database. Its time is that of the one machine."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def now(self) -> float:
        """Return the machine's time."""
        return self._clock.now()

    def begin(self, launch: StoredLaunch, entry: NewEntry) -> bool:
        """Record a launch and an entry of the log; return False, and do nothing, where one of this name exists."""
        with self._database.writing("launches") as connection:
            begun = connection.execute(_SQL["begin"], msgspec.structs.astuple(launch)).rowcount > 0
            if begun:
                self._log(connection, entry)
            return begun

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
        with self._database.writing("launches-lease") as connection:
            connection.execute(_SQL["acquire"], (name, holder, host, self.now(), seconds))
            row = connection.execute(_SQL["get"], (name,)).fetchone()
        return None if row is None else decode_launch(row)

    def release(self, name: str, holder: str) -> None:
        """Give the lease back."""
        with self._database.writing("launches-lease") as connection:
            connection.execute(_SQL["release"], (name, holder))

    def advance(self, name: str, holder: str, version: int, to: Advance, entry: NewEntry) -> None:
        """Store the version after `version`, and an entry of the log; raise `PilotLost` for another holder."""
        with self._database.writing("launches") as connection:
            fields = (name, holder, version, to.state, to.phase, to.blocks, self.now(), to.is_done)
            if not connection.execute(_SQL["advance"], fields).rowcount:
                raise PilotLost(f"the launch {name!r} has another pilot now")
            self._log(connection, entry)

    def mark_done(self, name: str, holder: str, version: int, trouble: str = "") -> None:
        """Record that the actions of a version are done, or why one was not; raise `PilotLost` for another holder."""
        with self._database.writing("launches-done") as connection:
            if not connection.execute(_SQL["mark_done"], (name, holder, version, trouble)).rowcount:
                raise PilotLost(f"the launch {name!r} has another pilot now")

    def ask(self, name: str, body: bytes, entry: NewEntry) -> int:
        """Record what a person asks, and an entry of the log; return its number."""
        with self._database.writing("launches") as connection:
            number = int(connection.execute(_SQL["ask"], (name, self.now(), body)).fetchone()[0])
            self._log(connection, entry)
            return number

    def requests(self, name: str, after: int) -> list[StoredRequest]:
        """Return the requests of a launch after one, in order."""
        return [decode_request(row) for row in self._database.ask(_SQL["requests"], name, after)]

    def unblock(self, entry: NewEntry) -> list[str]:
        """Let promotions go on, and record an entry of the log where they did wait; return for which launches."""
        with self._database.writing("launches") as connection:
            found = [name for (name,) in connection.execute(_SQL["blocking"])]
            if found:
                connection.execute(_SQL["unblock"])
                self._log(connection, entry)
            return found

    def _log(self, connection: sqlite3.Connection, entry: NewEntry) -> None:
        epoch = int(connection.execute(_EPOCH).fetchone()[0])
        log_in(connection, next_position(connection, self._clock), epoch, entry)
