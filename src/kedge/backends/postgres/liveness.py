"""Detection of a dead server: a second connection checks on a statement that has no answer yet."""

import time
from collections.abc import Generator, Mapping
from typing import Any, TypeVar

import psycopg

T = TypeVar("T")

ASK_SECONDS = 10.0  # without an answer, between checks
CONNECT_SECONDS = 5
SYNC_SECONDS = 30.0  # how long a commit may wait for a standby
_STATE = "SELECT state, wait_event FROM pg_catalog.pg_stat_activity WHERE pid = %s"


class PatientConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that waits for an answer as long as the server works on it.

    A stopped server, or a network that drops packets, looks like a slow one. So every `ASK_SECONDS` a second
    connection checks. This connection is lost where no second one can be made, or where the server is idle for this
    one. A commit that no standby confirms counts as lost after `SYNC_SECONDS`.
    """

    _arguments: Mapping[str, Any] | None = None  # None: statements are short, no answer means lost
    _pid_there = 0

    def ask_with(self, arguments: Mapping[str, Any], pid: int) -> None:
        """Set the arguments of the second connection, and the pid of the server process of this one."""
        self._arguments, self._pid_there = arguments, pid

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """Run a generator of psycopg on this connection."""
        return super().wait(self._watched(gen), *args, **kwargs)

    def _watched(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        began = asked = 0.0
        was_idle = False
        try:
            state = next(gen)
            while True:
                ready = yield state
                if ready:
                    began = 0.0
                elif not began:
                    began = asked = time.monotonic()
                elif time.monotonic() - asked >= ASK_SECONDS:
                    was_idle = self._ask(time.monotonic() - began, was_idle=was_idle)
                    asked = time.monotonic()
                state = gen.send(ready)
        except StopIteration as done:
            value: T = done.value
            return value

    def _ask(self, waited: float, *, was_idle: bool) -> bool:
        """Return whether the server is idle for this connection; raise if it was at the last check, too."""
        if self._arguments is None:
            raise self._lost(f"no answer for {waited:.0f} s")
        info = self.info
        here = {"host": info.host, "port": info.port, "target_session_attrs": "any", "connect_timeout": CONNECT_SECONDS}
        try:
            with type(self).connect(autocommit=True, **{**self._arguments, **here}) as other:
                row = other.execute(_STATE, (self._pid_there,)).fetchone()
        except psycopg.OperationalError as error:
            if "FATAL" in str(error):  # the server answers: it is full
                return False
            raise self._lost(f"no answer for {waited:.0f} s, and it accepts no connection ({error})") from None
        if row is not None and row[1] == "SyncRep" and waited >= SYNC_SECONDS:
            raise self._lost(f"no standby has confirmed the commit for {waited:.0f} s")
        is_idle = row is None or str(row[0]).startswith("idle")
        if is_idle and was_idle:
            raise self._lost(f"its answer was lost: none for {waited:.0f} s")
        return is_idle

    def _lost(self, why: str) -> psycopg.OperationalError:
        self.pgconn.finish()
        return psycopg.OperationalError(f"the server was given up: {why}")
