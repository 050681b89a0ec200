"""Listener for changes of the control record (LISTEN). A hint only: polling finds what it misses."""

import contextlib
import os
import time

import psycopg

from kedge.backends.postgres.database import Database
from kedge.backends.postgres.link import Connection
from kedge.errors import KedgeError
from kedge.support.fork_lock import ForkSafeLock

_AGAIN_SECONDS = 5.0  # between attempts to connect
_left_to_parents: list[Connection] = []


class ChangeListener:
    """Counts notifications; it connects on the first call of `count`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = ForkSafeLock()
        self._connection: Connection | None = None
        self._pid = os.getpid()
        self._next_try = 0.0
        self._count = 0
        self._is_closed = False

    def count(self) -> int:
        """Return a number that grows with each notification, or where one may be missed; without a query."""
        with self._lock.here:
            if self._pid != os.getpid():
                if self._connection is not None:
                    _left_to_parents.append(self._connection)
                self._pid, self._connection = os.getpid(), None
            try:
                self._listen()
            except (psycopg.Error, OSError, KedgeError):
                self._drop()
            return self._count

    def _listen(self) -> None:
        if self._is_closed:
            return
        if self._connection is None:
            if time.monotonic() < self._next_try:
                return
            self._next_try = time.monotonic() + _AGAIN_SECONDS
            self._connection = self._database.connect()
            self._connection.execute("LISTEN kedge_control")
            self._count += 1
        self._count += sum(1 for _ in self._connection.notifies(timeout=0))

    def _drop(self) -> None:
        if self._connection is not None:
            self._count += 1
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
        self._connection = None

    def close(self) -> None:
        """Close the connection."""
        with self._lock.here:
            self._is_closed = True
            if self._pid == os.getpid() and self._connection is not None:
                self._connection.close()
            self._connection = None
