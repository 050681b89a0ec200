"""Waiting for an answer, and asking after it over a second connection, so that nobody waits for ever."""

import time
from collections.abc import Generator, Mapping
from typing import Any, TypeVar

import psycopg

T = TypeVar("T")

ASK_SECONDS = 10.0  # without an answer, until the server is asked after it
CONNECT_SECONDS = 5
SYNC_SECONDS = 30.0  # that a commit may wait for a standby
_STATE = "SELECT state, wait_event FROM pg_catalog.pg_stat_activity WHERE pid = %s"


class PatientConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that waits for an answer as long as the server is at work on it.

    A server that has stopped, or a way to it that swallows everything, looks like one that is thinking. So every
    `ASK_SECONDS` a second connection asks: where none can be made, or where the server has nothing to do for this one,
    this one is lost. A commit that no standby confirms counts as lost after `SYNC_SECONDS`.
    """

    _arguments: Mapping[str, Any] | None = None  # None: what is asked takes no time, so that silence is a loss
    _pid_there = 0

    def ask_with(self, arguments: Mapping[str, Any], pid: int) -> None:
        """Say how a second connection is made, and which of the server's processes serves this one."""
        self._arguments, self._pid_there = arguments, pid

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """Consume a generator of psycopg's that operates on this connection."""
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
        """Return whether the server has nothing to do for this connection; raise where that is so for good."""
        if self._arguments is None:
            raise self._lost(f"it has not answered for {waited:.0f} s")
        info = self.info
        here = {"host": info.host, "port": info.port, "target_session_attrs": "any", "connect_timeout": CONNECT_SECONDS}
        try:
            with type(self).connect(autocommit=True, **{**self._arguments, **here}) as other:
                row = other.execute(_STATE, (self._pid_there,)).fetchone()
        except psycopg.OperationalError as error:
            if "FATAL" in str(error):  # it answers, if only to say that it has no room
                return False
            raise self._lost(f"it has not answered for {waited:.0f} s, and takes no connection ({error})") from None
        if row is not None and row[1] == "SyncRep" and waited >= SYNC_SECONDS:
            raise self._lost(f"no standby has confirmed the commit for {waited:.0f} s")
        is_idle = row is None or str(row[0]).startswith("idle")
        if is_idle and was_idle:
            raise self._lost(f"its answer has not come for {waited:.0f} s")
        return is_idle

    def _lost(self, why: str) -> psycopg.OperationalError:
        self.pgconn.finish()
        return psycopg.OperationalError(f"the server was given up: {why}")
