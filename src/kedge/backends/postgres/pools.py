"""Connection pools: Kedge's own, or one of the caller, whose connections keep their settings."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

import psycopg
import psycopg_pool
from psycopg.adapt import AdaptersMap
from psycopg.rows import tuple_row

from kedge import errors
from kedge.backends.postgres.link import Connection, Cursor
from kedge.backends.postgres.liveness import PatientConnection
from kedge.support.interrupts import interruptible, let_interrupt, shielded

T = TypeVar("T")
Made = psycopg_pool.ConnectionPool[Connection]
Given = psycopg_pool.ConnectionPool[Any]

POOL_EXHAUSTED = (psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests)
_CONNECTIONS_MAX = 16
_RECONNECT_SECONDS = 3.0  # a pool tries three times to connect in it; a caller that still waits makes it retry
_HEAR_SECONDS = 0.1
_TAKE_SECONDS = 0.001  # for a connection that is there
# One statement returns the current values and sets new ones.
_EXCHANGE = """
SELECT name, pg_catalog.current_setting(name, TRUE), pg_catalog.set_config(name, value, FALSE)
FROM unnest($1::pg_catalog.text[], $2::pg_catalog.text[]) AS s (name, value)
"""
let_interrupt(psycopg.Connection.wait, outside=psycopg.Connection.rollback)
_left_to_parents: list[Made] = []  # pools of the parent process: a fork must neither use nor close them


class Lender(Protocol):
    """Lends connections in autocommit mode, with Kedge's settings and types."""

    tries_again: bool
    """Whether to retry where no connection came free."""

    def lend(self, act: Callable[[Connection], T]) -> T:
        """Call `act` with a connection and return its result; an open transaction is rolled back."""

    def exhausted(self) -> errors.Busy:
        """Return the error for no free connection while the server accepts new ones."""

    def close(self) -> None:
        """Close or return the connections."""


class OwnPool:
    """A pool of Kedge's own; a forked process makes a new one."""

    tries_again = True

    def __init__(
        self, arguments: dict[str, Any], configure: Callable[[Connection], None], timeout_seconds: float
    ) -> None:
        self._arguments = {"autocommit": True, "cursor_factory": psycopg.RawCursor, **arguments}
        self._configure = configure
        self._timeout_seconds = timeout_seconds
        self._pid = os.getpid()
        self._pool = self._make()

    def _make(self) -> Made:
        return psycopg_pool.ConnectionPool(
            connection_class=PatientConnection,
            kwargs=self._arguments,
            min_size=0,
            max_size=_CONNECTIONS_MAX,
            max_idle=60.0,
            timeout=min(_RECONNECT_SECONDS, self._timeout_seconds),
            reconnect_timeout=_RECONNECT_SECONDS,
            configure=self._configure,
            name="kedge",
            open=True,
        )

    def lend(self, act: Callable[[Connection], T]) -> T:
        """Call `act` with a connection and return its result."""
        if self._pid != os.getpid():
            _left_to_parents.append(self._pool)
            self._pid, self._pool = os.getpid(), self._make()
        return _use(self._pool, act)

    def exhausted(self) -> errors.Busy:
        """Return the error for no free connection."""
        return errors.Busy(
            f"no connection came free within {self._timeout_seconds:g} s: all {_CONNECTIONS_MAX} are in use; nothing "
            "was done: try again, from fewer threads, or open the database with a larger pool (pool=…)"
        )

    def close(self) -> None:
        """Close every connection that is not lent; lent ones close when they come back."""
        if self._pid == os.getpid():
            self._pool.close()


class GivenPool:
    """A pool of the caller, which closes it."""

    tries_again = False  # the pool's own timeout decides

    def __init__(self, pool: Given, settings: dict[str, str], adapters: AdaptersMap) -> None:
        self._pool = pool
        self._pid = os.getpid()
        self._names, self._values = list(settings), list(settings.values())
        # Kedge's statements use Kedge's types, not those that the caller has registered.
        self._cursor = type("KedgeCursor", (psycopg.RawCursor,), {"__slots__": (), "adapters": adapters})

    def lend(self, act: Callable[[Connection], T]) -> T:
        """Call `act` with a connection and return its result; then restore the connection's settings."""
        if self._pid != os.getpid():
            raise errors.InvalidValue(
                "the pool belongs to the parent of this forked process; open the database here, with a pool of this "
                "process"
            )

        def act_as_ours(connection: Connection) -> T:
            with self._as_ours(connection):
                return act(connection)

        try:
            return _use(self._pool, act_as_ours)
        except psycopg_pool.PoolClosed:
            raise errors.TurnClosed("the pool was closed while Kedge used it; open both again") from None

    @contextmanager
    def _as_ours(self, connection: Connection) -> Iterator[None]:
        _roll_back(connection)  # the transaction of a pool's own `check`
        was = (connection.autocommit, connection.row_factory, connection.cursor_factory)
        try:
            connection.autocommit = True
            connection.row_factory, connection.cursor_factory = tuple_row, self._cursor
            if connection.info.encoding != "utf-8":
                raise errors.InvalidValue(
                    f"the pool's connections use the encoding {connection.info.encoding!r}; set client_encoding='utf8'"
                )
            before = self._exchange(connection, self._names, self._values)
            try:
                yield
            finally:
                _roll_back(connection)
                self._restore(connection, before)
        finally:
            with suppress(psycopg.Error):  # a lost connection: the pool discards it
                connection.autocommit, connection.row_factory, connection.cursor_factory = was

    def _exchange(self, connection: Connection, names: list[str], values: list[str]) -> dict[str, str]:
        cursor: Cursor = connection.cursor()
        try:
            return {name: value for name, value, _ in cursor.execute(_EXCHANGE, (names, values))}
        except BaseException:  # the settings may have changed, and the old values are unknown
            connection.close()
            raise

    def _restore(self, connection: Connection, settings: dict[str, str]) -> None:
        with suppress(psycopg.Error):  # it is closed then
            self._exchange(connection, list(settings), list(settings.values()))

    def exhausted(self) -> errors.Busy:
        """Return the error for no free connection."""
        return errors.Busy(
            f"no connection of the pool {self._pool.name!r} came free within its {self._pool.timeout:g} s (at most "
            f"{self._pool.max_size} connections, {self._pool.max_waiting or 'any number of'} waiting); nothing was "
            "done: try again, or give Kedge a larger pool"
        )

    def close(self) -> None:
        """Do nothing: the caller closes its pool."""


def check_given(pool: object) -> None:
    """Raise `InvalidValue` unless Kedge can borrow connections from this pool."""
    if isinstance(pool, psycopg_pool.AsyncConnectionPool):
        raise errors.InvalidValue(
            f"the pool {pool.name!r} is an AsyncConnectionPool; give a psycopg_pool.ConnectionPool, to kedge.aio, too"
        )
    if not isinstance(pool, psycopg_pool.ConnectionPool):
        raise errors.InvalidValue(f"pool={pool!r:.80} is not a psycopg_pool.ConnectionPool; give one, or leave it out")
    if pool.closed:
        raise errors.InvalidValue(f"the pool {pool.name!r} is closed, or was never opened; open it before Kedge")


def _use(pool: Made | Given, act: Callable[[Connection], T]) -> T:
    """Call `act` with a connection of a pool, and return it to the pool with no open transaction.

    An interruption (Ctrl-C) may end `act`, and again the clean-up after it. Then the state of the connection is not
    known: the pool gets it back closed, and replaces it.
    """
    return shielded(_take_and_use, pool, act)


def _take_and_use(pool: Made | Given, act: Callable[[Connection], T]) -> T:
    connection = _take(pool)
    try:
        return interruptible(_act, connection, act)
    except Exception:
        raise
    except BaseException:
        connection.pgconn.finish()
        raise
    finally:
        pool.putconn(connection)


def _act(connection: Connection, act: Callable[[Connection], T]) -> T:
    try:
        return act(connection)
    finally:
        _roll_back(connection)


def _take(pool: Made | Given) -> Connection:
    """Take a connection of a pool; an interruption (Ctrl-C) of the wait for one loses none.

    In psycopg_pool it would: the interrupted place in the queue stays, and is given a connection. So another thread
    waits, since only the main thread is interrupted. A connection that is there is taken here, where only a `check` of
    the caller's may be interrupted, while it waits for the server.
    """
    if threading.current_thread() is not threading.main_thread():
        return pool.getconn()
    if not isinstance(pool, psycopg_pool.NullConnectionPool):  # it would connect here
        with suppress(psycopg_pool.PoolTimeout):
            return pool.getconn(timeout=_TAKE_SECONDS)
    return _Taking(pool).result()


class _Taking:
    """A connection that another thread takes, for a thread that may stop waiting for it at any instruction.

    A `Future` would not do: an interruption can leave the lock of its condition locked.
    """

    def __init__(self, pool: Made | Given) -> None:
        self._pool = pool
        self._claims = [None]  # the thread that removes it decides: to deliver, or to leave
        self._taken: Connection | None = None
        self._error: Exception | None = None
        self._is_over = threading.Lock()
        self._is_over.acquire()
        threading.Thread(target=self._take, name="kedge-connect", daemon=True).start()

    def result(self) -> Connection:
        """Wait for the connection, and return it; only the wait is interruptible."""
        try:
            interruptible(self._wait)
        except BaseException:
            if not self._claim():
                self._wait()
                if self._taken is not None:
                    self._pool.putconn(self._taken)
            raise
        if self._error is not None:
            raise self._error
        assert self._taken is not None  # noqa: S101 - the taker has delivered
        return self._taken

    def _wait(self) -> None:
        # A thread that waits in a lock does not hear a signal that another one has received.
        while self._taken is None and self._error is None:
            self._is_over.acquire(timeout=_HEAR_SECONDS)

    def _claim(self) -> bool:
        with suppress(IndexError):
            self._claims.pop()
            return True
        return False

    def _take(self) -> None:
        found: Connection | None = None
        error: Exception | None = None
        try:
            found = self._pool.getconn()
        except Exception as raised:  # noqa: BLE001 - raised where it was asked for
            error = raised
        if self._claim():
            self._taken, self._error = found, error
            self._is_over.release()
        elif found is not None:
            self._pool.putconn(found)


def _roll_back(connection: Connection) -> None:
    if connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
        return
    try:
        connection.rollback()
    except psycopg.Error:
        connection.close()
