"""Connections and transactions of one PostgreSQL database, retried when the connection is lost."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar
from weakref import WeakSet

import psycopg
from psycopg.adapt import AdaptersMap

from kedge import errors
from kedge.backends.postgres import row_locks as lane_locks
from kedge.backends.postgres.address import read_address
from kedge.backends.postgres.faults import READ_ONLY, explain, is_lost, is_raced, translate
from kedge.backends.postgres.link import Connection, Link, Rewrite, pipelined, prepare
from kedge.backends.postgres.liveness import PatientConnection
from kedge.backends.postgres.lost_commits import LostCommits
from kedge.backends.postgres.pools import POOL_EXHAUSTED, Given, GivenPool, Lender, OwnPool, check_given
from kedge.backends.postgres.schema import adapt, migrate
from kedge.backends.postgres.settings import apply_settings, check_server, database_settings, settings_for
from kedge.backends.postgres.vector_type import register, vector_oids
from kedge.model.secrets import public_address
from kedge.support.failpoints import reach

T = TypeVar("T")

RETRY_SECONDS = 30.0
_PAUSE_SECONDS = 0.05
_IDLE_SECONDS = 10  # how long a transaction may wait for its client
_TRANSACTION_SECONDS = 50  # limit of a transaction that holds lanes: below the lock timeout of others
_TRANSACTION_TIMEOUT_SINCE = 170_000  # PostgreSQL 17
_OPTIONS: dict[str, Any] = {
    "client_encoding": "utf8",
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "kedge",
}
_IDENTITY = b"SELECT value, current_database() FROM kedge.meta WHERE name = 'database_id'"  # a copy keeps its id


def again(_: Link) -> None:
    """Return None as `find` of an idempotent write: it is done again."""


class Database:
    """One PostgreSQL database, shared by threads through a pool and by processes on any machine."""

    def __init__(
        self,
        url: str,
        durability: str = "full",
        *,
        read_only: bool = False,
        retry_seconds: float = RETRY_SECONDS,
        pool: Given | None = None,
    ) -> None:
        self.read_only = read_only
        self._retry_seconds = retry_seconds
        self._settings = settings_for(durability, _IDLE_SECONDS)
        self._arguments = {**_OPTIONS, **read_address(url)}
        if not read_only:
            self._arguments["target_session_attrs"] = _primary(self._arguments.get("target_session_attrs"))
        self.url = public_address(url)
        self.known = LostCommits()
        self._checked: WeakSet[Connection] = WeakSet()
        self._closed = False
        self._vector_oids: tuple[int, int] | None = None
        self._older: tuple[int, Rewrite] | None = None  # the schema, where it is older than this package's
        if pool is not None:
            check_given(pool)
        self._open()
        self._pool: Lender = OwnPool(self._arguments, self._configure, retry_seconds)
        if pool is not None:
            self._borrow_from(pool)

    @property
    def has_vector_type(self) -> bool:
        """Whether vectors are stored in pgvector's type, so that the server can compare them."""
        return self._vector_oids is not None

    @property
    def is_standby(self) -> bool:
        """Whether this is a standby now, which may lag behind its primary; asked of the server for a reader."""
        return self.read_only and bool(self.ask(b"SELECT pg_catalog.pg_is_in_recovery()")[0][0])

    def _open(self) -> None:
        """Check or create the schema. It fails at once with the server's text, where a pool would retry."""
        try:
            with self.connect() as connection:
                check_server(connection, self.url)
                self._look_at_schema(connection)
                self._vector_oids = vector_oids(connection)
                self._settings |= database_settings(connection, self._settings)
        except psycopg.Error as error:
            raise explain(error, self.url) from error

    # ── connections ──

    def connect(self) -> Connection:
        """Return a new connection; the caller closes it."""
        connection = PatientConnection.connect(autocommit=True, **self._arguments)
        self._configure(connection)
        return connection

    def _borrow_from(self, pool: Given) -> None:
        """Use the caller's pool, once its connections are known to lead to the same database."""
        with self.connect() as ours:
            settings = {**self._settings, "default_transaction_read_only": "off"}
            given = GivenPool(pool, settings, AdaptersMap(ours.adapters))
        here = self.ask(_IDENTITY)
        self._pool.close()
        self._pool = given
        try:
            there = self.ask(_IDENTITY)
        except errors.NotAKedgeDatabase:
            there = []
        if here != there:
            raise errors.InvalidValue(
                f"the pool {pool.name!r} connects to another database than {self.url}; pass the address of the pool's "
                "database"
            )

    def _configure(self, connection: Connection) -> None:
        prepare(connection)
        if self._vector_oids is not None:
            register(connection, *self._vector_oids)
        pid = apply_settings(connection, self._settings)
        if isinstance(connection, PatientConnection):
            connection.ask_with(self._arguments, pid)

    def _run(self, act: Callable[[Connection], T], retry_seconds: float | None = None) -> T:
        """Run `act` with a connection; retry while it is lost or another transaction comes first."""
        deadline = time.monotonic() + (self._retry_seconds if retry_seconds is None else retry_seconds)
        while True:
            try:
                return self._lend(act)
            except POOL_EXHAUSTED as error:
                if not self._pool.tries_again or time.monotonic() > deadline:
                    raise self._pool.exhausted() from error
            except psycopg.Error as error:
                why = explain(error, self.url)
                is_passing = (is_lost(error) and not isinstance(why, errors.Misuse)) or is_raced(error)
                if not is_passing or time.monotonic() > deadline:
                    raise why from error
            time.sleep(_PAUSE_SECONDS)

    def _lend(self, act: Callable[[Connection], T]) -> T:
        if self._closed:
            raise errors.TurnClosed("this Kedge is closed; open the database again")

        def known(connection: Connection) -> T:
            if self.known.is_lost or connection not in self._checked:
                self.known.check(connection, self.url, is_primary=not self.read_only)
                self._checked.add(connection)
            return act(connection)

        try:
            return self._pool.lend(known)
        except POOL_EXHAUSTED:
            self.connect().close()  # raises where the server is unreachable
            raise

    def close(self) -> None:
        """Close every connection that is not lent; lent ones close when they come back."""
        if not self._closed:
            self._closed = True
            self._pool.close()

    def maintain(self, *statements: bytes) -> None:
        """Run long statements outside of transactions, on a connection of their own."""
        try:
            with self.connect() as connection:
                for statement in statements:
                    connection.execute(statement)
        except psycopg.Error as error:
            raise translate(error, self.url) from error

    def vacuum(self, *tables: str) -> None:
        """Vacuum tables, where this user may."""
        deadline = time.monotonic() + self._retry_seconds
        left = list(tables)
        while left:
            try:
                self.maintain(f"VACUUM kedge.{left[0]}".encode())
            except errors.ReadOnly:
                return  # only the owner may; autovacuum does it later
            except errors.Unreachable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_VACUUM_AGAIN_SECONDS)
            else:
                del left[0]

    # ── transactions ──

    def ask(self, sql: bytes, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return the rows of one statement, which reads one snapshot."""

        def once(connection: Connection) -> list[tuple[Any, ...]]:
            cursor = Link(connection, None, self._rewrite(connection)).send(sql, *parameters)
            return [] if cursor.description is None else cursor.fetchall()

        return self._run(once)

    def read(self, look: Callable[[Link], T]) -> T:
        """Return the result of `look` in one snapshot; it may be called again."""

        def once(connection: Connection) -> T:
            rewrite = self._rewrite(connection)
            with pipelined(connection) as pipeline:
                link = Link(connection, pipeline, rewrite)
                link.send(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                found = look(link)
                link.send(b"COMMIT")
            return found

        return self._run(once)

    def _rewrite(self, connection: Connection) -> Rewrite | None:
        """Return what adapts statements to an older schema, until another process has expanded it."""
        if self._older is not None:
            self._look_at_schema(connection)
        return None if self._older is None else self._older[1]

    def adapted(self, connection: Connection, sql: bytes) -> bytes:
        """Return a statement as the schema of this database takes it, for a cursor of the caller's."""
        rewrite = self._rewrite(connection)
        return sql if rewrite is None else rewrite(sql)

    def _look_at_schema(self, connection: Connection) -> None:
        found = migrate(connection, self.url, read_only=self.read_only)
        if self._older is None or self._older[0] != found:
            rewrite = adapt(found)
            self._older = None if rewrite is None else (found, rewrite)

    def settle(self, look: Callable[[Link], T]) -> T:
        """Return the result of `look`, once all transactions in flight at that time have ended."""
        if self.is_standby:
            raise errors.ReadOnly(f"{self.url} is a standby, which cannot tell what is in flight; use the primary")

        def once(connection: Connection) -> T:
            rewrite = self._rewrite(connection)
            with pipelined(connection) as pipeline:
                link = Link(connection, pipeline, rewrite)
                found = look(link)
                lane_locks.pass_all(link)
            return found

        return self._run(once)

    def write(
        self,
        what: str,
        act: Callable[[Link], T],
        *,
        lanes: Iterable[int] = (),
        find: Callable[[Link], T | None] | None = None,
        retry_seconds: float | None = None,
    ) -> T:
        """Return the result of `act` in one transaction that holds these lanes; it may be called again.

        Where the answer to the commit is lost, `find` looks for the result once the transaction has ended; None means
        that it did not commit, and `act` is called again. Without `find`, `OutcomeUnknown` is raised.
        """
        held = sorted(lanes)
        seconds = self._retry_seconds if retry_seconds is None else retry_seconds
        return self._resolved(_Attempt(what, held, act).run, held, find, seconds)

    def write_one(
        self,
        what: str,
        sql: bytes,
        parameters: Sequence[Any],
        *,
        lanes: Iterable[int],
        find: Callable[[Link], tuple[Any, ...] | None],
    ) -> tuple[Any, ...]:
        """Return the row of one statement that is its own transaction and holds these lanes; see `write`."""
        return self._resolved(_Single(what, sql, parameters).run, lanes, find, self._retry_seconds)

    def _resolved(
        self,
        attempt: Callable[[Connection], T],
        held: Iterable[int],
        find: Callable[[Link], T | None] | None,
        seconds: float,
    ) -> T:
        """Return the result of an attempt to write, once its outcome is known."""
        if self.read_only:
            raise errors.ReadOnly(f"{self.url} is open read-only; open it without read_only to write")
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self._run(attempt, seconds)
            except _AnswerLost as lost:
                if find is None:
                    raise errors.OutcomeUnknown(_LOST.format(self.url, _first_line(lost.__cause__))) from lost
                found = self.found(held, find, seconds)
                if found is not None:
                    return found
                if time.monotonic() > deadline:
                    if lost.took_seconds >= _TRANSACTION_SECONDS:
                        raise errors.Busy(_TOO_LONG.format(self.url, _TRANSACTION_SECONDS)) from lost
                    raise errors.Unreachable(
                        f"the connection to {self.url} was lost repeatedly; nothing was done: try again"
                    ) from lost

    def found(
        self, lanes: Iterable[int], find: Callable[[Link], T | None], retry_seconds: float | None = None
    ) -> T | None:
        """Return the result of `find` once the transaction that holds these lanes has ended, or `OutcomeUnknown`.

        This transaction commits too: where a standby confirms it, it has confirmed what was found.
        """

        def once(connection: Connection) -> T | None:
            found: T | None = None
            try:
                with _confirmed(connection), pipelined(connection) as pipeline:
                    link = Link(connection, pipeline)
                    link.send(b"BEGIN")
                    lane_locks.lock(link, lanes)  # the lost transaction holds them until it ends
                    found = find(link)
                    link.send(b"COMMIT")
            except Unconfirmed:
                if found is not None:
                    raise
            return found

        try:
            return self._run(once, retry_seconds)
        except errors.Retryable as error:  # its "nothing was done" is true of this lookup only
            raise errors.OutcomeUnknown(_LOST.format(self.url, _first_line(error))) from error


_VACUUM_AGAIN_SECONDS = 0.1  # a lost connection
_LOST = (
    "the connection to {} was lost during the commit ({}); what was being written is there wholly or not at all: "
    "read it back, or repeat the call with the same idempotency key"
)


_STANDBY_WAIT = "SyncRepWaitForLSN"  # a commit that stops waiting for a standby warns with this function
_UNCONFIRMED = (
    "what was being written is there, but no standby has confirmed it ({}), so that a failover may lose it: wait until "
    "the standby is back, then repeat the call with the same idempotency key, or read it back"
)


class Unconfirmed(errors.OutcomeUnknown):
    """The commit is done on the primary, but no standby has confirmed it."""


_TOO_LONG = (
    "the write to {} took longer than {} s and was stopped, because it blocks others; nothing was done: write in "
    "smaller batches, or load vectors before `kedge optimize` indexes them"
)


def _primary(asked: Any) -> str:
    """Return the servers to write to: a standby may lag behind a rollback, and behind this process."""
    if asked in {None, "any"}:
        return "read-write"
    if asked not in {"read-write", "primary"}:
        raise errors.InvalidValue(
            f"target_session_attrs={asked} selects a standby, which is read-only; leave it out, or open the "
            "database with read_only=True"
        )
    return str(asked)


class _AnswerLost(Exception):
    """The connection was lost during the commit."""

    def __init__(self, took_seconds: float) -> None:
        self.took_seconds = took_seconds


class _Attempt(Generic[T]):
    """One attempt of a write transaction."""

    def __init__(self, what: str, lanes: list[int], act: Callable[[Link], T]) -> None:
        self._what = what
        self._lanes = lanes
        self._act = act

    def run(self, connection: Connection) -> T:
        """Begin, lock the lanes, act and commit."""
        is_committing, began = False, time.monotonic()
        try:
            with _confirmed(connection), pipelined(connection) as pipeline:
                link = Link(connection, pipeline)
                link.send(b"BEGIN")
                if self._lanes:
                    has_timeout = connection.info.server_version >= _TRANSACTION_TIMEOUT_SINCE
                    lane_locks.lock(link, self._lanes, _TRANSACTION_SECONDS if has_timeout else None)
                reach(f"{self._what}:begun")
                done = self._act(link)
                reach(f"{self._what}:before-commit")
                is_committing = True
                link.send(b"COMMIT")
        except psycopg.Error as error:
            if is_committing and is_lost(error):
                raise _AnswerLost(time.monotonic() - began) from error
            raise
        reach(f"{self._what}:after-commit")
        return done


class _Single:
    """One attempt of a single-statement write."""

    def __init__(self, what: str, sql: bytes, parameters: Sequence[Any]) -> None:
        self._what = what
        self._sql = sql
        self._parameters = parameters

    def run(self, connection: Connection) -> tuple[Any, ...]:
        """Send the statement, which is its own transaction."""
        began = time.monotonic()
        reach(f"{self._what}:begun")
        for _ in range(2):  # a server that is gone has sent an error, then the end: raise before anything is sent
            connection.pgconn.consume_input()
        try:
            with _confirmed(connection):
                done = Link(connection).one(self._sql, *self._parameters)
        except psycopg.Error as error:
            if is_lost(error) and error.sqlstate != READ_ONLY:  # raised before anything is done
                raise _AnswerLost(time.monotonic() - began) from error
            raise
        reach(f"{self._what}:after-commit")
        return done


@contextlib.contextmanager
def _confirmed(connection: Connection) -> Iterator[None]:
    """Raise `Unconfirmed` for a commit that no standby has confirmed, as the server warns."""
    unconfirmed: list[str] = []

    def hear(notice: psycopg.errors.Diagnostic) -> None:
        if notice.source_function == _STANDBY_WAIT:
            unconfirmed.append(notice.message_primary or "")

    connection.add_notice_handler(hear)
    try:
        yield
    finally:
        connection.remove_notice_handler(hear)
    if unconfirmed:
        raise Unconfirmed(_UNCONFIRMED.format(unconfirmed[0]))


def _first_line(error: object) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0]
