"""Connections, transactions, schema migrations and error translation of one SQLite file."""

import os
import re
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from kedge import errors
from kedge.backends.sqlite.faults import BUSY_SECONDS, translate
from kedge.backends.sqlite.file_kind import APPLICATION_ID, DOORBELL, describe_tables
from kedge.backends.sqlite.group_commit import GroupCommit, Lent
from kedge.backends.sqlite.reserve import Reserve
from kedge.backends.sqlite.schema import expand, migrations, overlay, schema_of
from kedge.model import upgrade
from kedge.model.migration import Arriving, Sealed, arriving_message, moved_message
from kedge.support import interrupts
from kedge.support.failpoints import reach
from kedge.support.fork_gate import ForkGate
from kedge.support.interrupts import Shielded

TRY_MILLISECONDS = 100
_VERSION = """
SELECT (SELECT user_version FROM pragma_user_version), (SELECT application_id FROM pragma_application_id), count(*)
FROM sqlite_schema
"""
_MIN_WRITER = f"SELECT value FROM meta WHERE name = '{upgrade.MIN_WRITER}'"  # noqa: S608 - a name of ours
_NAMED_INDEX = re.compile(r" (?:NOT INDEXED|INDEXED BY \w+)")
_DURABILITIES = {"full": "FULL", "normal": "NORMAL"}
# SQLite keeps locks in the process's memory. A forked child would inherit them, and nothing would free them.
FORK_GATE = ForkGate()
_left_to_parents: list[sqlite3.Connection] = []  # lent at a fork: the child must neither use nor close them


class Database:
    """One SQLite file, shared by threads through a pool of connections and by processes through the file."""

    def __init__(self, path: Path, durability: str = "full", *, read_only: bool = False) -> None:
        if durability not in _DURABILITIES:
            raise errors.InvalidValue(f"durability {durability!r} is unknown; use 'full' or 'normal'")
        self.path = path
        self.doorbell = path.with_name(path.name + DOORBELL)
        self.read_only = read_only
        self._synchronous = _DURABILITIES[durability]
        self._pool: deque[sqlite3.Connection] = deque()
        self._pid = os.getpid()
        self.file = os.path.realpath(path)
        self.group_commit = GroupCommit(FORK_GATE, self._end)
        self._closed = False
        FORK_GATE.before_fork(self._close_idle)
        self._older: int | None = None  # the schema, where it is older than this package's
        self._overlay: list[str] = []
        if not read_only:
            self._create_folder()
        self.reserve = Reserve(path)
        self.reserve.opening(self._open)

    def _open(self) -> None:
        with self.translated():
            if not self.read_only:
                self._migrate()
                self.reserve.fill()
            self._check_schema()

    def _create_folder(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise errors.InvalidValue(
                f"cannot create the folder {self.path.parent} ({error.strerror}); choose another path"
            ) from error

    # ── connections ──

    def _connect(self) -> sqlite3.Connection:
        mode = "ro" if self.read_only else "rwc"
        uri = f"{self.path.absolute().as_uri()}?mode={mode}"
        connection = sqlite3.connect(
            uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA secure_delete = ON")  # a purge also erases the pages that it frees
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("PRAGMA cache_size = -16384")
            for statement in self._overlay:
                connection.execute(statement)
        except BaseException:
            connection.close()
            raise
        return connection

    def connection(self) -> "Borrowed":
        """Lend a connection in autocommit mode."""
        return Borrowed(self)

    def lend(self) -> Lent:
        """Lend a connection, which `give_back` takes back."""
        hold = FORK_GATE.enter(self.file)
        try:
            return Lent(self._take(), hold)
        except BaseException:
            FORK_GATE.leave(hold)
            raise

    def _private(self) -> sqlite3.Connection:
        """Return a connection outside the pool; the caller holds the fork gate, and closes it."""
        check_not_cut(self.file)
        return self._connect()

    def _take(self) -> sqlite3.Connection:
        if self._closed:
            raise errors.TurnClosed("this Kedge is closed; open the database again")
        check_not_cut(self.file)
        if self._pid != os.getpid():  # a fork must not use the parent's connections
            self._pool = deque()
            self._pid = os.getpid()
        try:
            connection = self._pool.pop() if self._pool else self._connect()
        except IndexError:  # another thread was faster
            connection = self._connect()
        return connection if self._older is None else self._reopened_if_expanded(connection)

    def _reopened_if_expanded(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Return a connection of a reader that stays open while another process expands the schema."""
        if schema_of(connection) == self._older:
            return connection
        connection.close()
        self._check_schema()
        return self._connect()

    def give_back(self, lent: Lent) -> None:
        """Take a connection back; an open transaction is rolled back."""
        connection = lent.connection
        try:
            if self._pid != os.getpid():
                _left_to_parents.append(connection)
                return
            if connection.in_transaction:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            if self._closed:
                connection.close()
            else:
                self._pool.append(connection)
        finally:
            FORK_GATE.leave(lent.hold)

    def _close_idle(self) -> None:
        with suppress(IndexError):
            while True:
                connection = self._pool.pop()
                with suppress(sqlite3.Error):
                    connection.close()

    def reading(self) -> "Snapshot":
        """Lend a connection inside one read transaction: it reads one snapshot."""
        return Snapshot(self)

    def ask(self, sql: str, *parameters: Any) -> list[Any]:
        """Return all rows of one statement."""
        with self.connection() as connection:
            # Where the schema is older, a table may be a view that adds what it lacks, and a view has no index to name.
            chosen = sql if self._older is None else _NAMED_INDEX.sub("", sql)
            return connection.execute(chosen, parameters).fetchall()

    def writing(
        self, what: str, *, durable: bool = True, interruptible: bool = False, shares: bool = False
    ) -> "Transaction":
        """Lend a connection inside a write transaction, committed at the end unless an exception leaves it.

        A write that is not `durable` does not wait for the disk: only a power failure may lose it. An
        `interruptible` one reacts to Ctrl-C while it waits for another process; SQLite's own wait does not. One that
        `shares` may be committed together with those of other threads; each of them is done or not by itself.
        """
        self.check_writable()
        return Transaction(
            self, what, partial(self._begin, durable=durable, interruptible=interruptible), shares=shares
        )

    def _begin(self, *, durable: bool, interruptible: bool) -> Lent:
        """Lend a connection in a new write transaction."""
        lent = self.lend()
        try:
            if not durable:
                lent.is_durable = False
                lent.connection.execute("PRAGMA synchronous = NORMAL")
            if interruptible:
                interrupts.interruptible(self._try_often, lent.connection, "BEGIN IMMEDIATE")
            else:
                lent.connection.execute("BEGIN IMMEDIATE")
            upgrade.check_writer(str(self.path), self.min_writer(lent.connection))
        except BaseException:
            self._end(lent)
            raise
        return lent

    def _end(self, lent: Lent) -> None:
        """Take back the connection of a write transaction."""
        try:
            if not lent.is_durable and self._pid == os.getpid():
                if lent.connection.in_transaction:  # the pragma has no effect within one
                    lent.connection.execute("ROLLBACK")
                lent.connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        finally:
            self.give_back(lent)

    def check_writable(self) -> None:
        """Raise `ReadOnly` where the database is open read-only."""
        if self.read_only:
            raise errors.ReadOnly(f"{self.path} is open read-only; open it without read_only to write")

    def ring(self) -> None:
        """Touch the doorbell file, so that other processes check for a new epoch."""
        with suppress(OSError):
            self.doorbell.touch()
            os.utime(self.doorbell)

    def close(self) -> None:
        """Close every connection that is not lent; lent ones close when they come back."""
        self._closed = True
        if self._pid == os.getpid():
            self._close_idle()

    # ── schema ──

    def _migrate(self) -> None:
        with FORK_GATE.holding(self.file), closing(self._private()) as connection:
            current = self._version(connection) == len(migrations())
            self._write_ahead(connection)  # only now: it rewrites the header, permanently
            if current:
                return
            connection.execute("BEGIN IMMEDIATE")
            found = self._version(connection)
            if found:
                upgrade.check_writer(str(self.path), self.min_writer(connection))
            expand(connection, found)
            if found == 0:
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute("INSERT INTO meta VALUES ('database_id', ?)", (os.urandom(16).hex(),))
                connection.execute("INSERT INTO meta VALUES ('header_key', ?)", (os.urandom(32),))
                self.raise_fence(connection)
            reach("migrate:before-commit")
            connection.execute("COMMIT")

    def _write_ahead(self, connection: sqlite3.Connection) -> None:
        """Switch to WAL in many short tries: of several processes that open a new file at once, one may block."""
        self._try_often(connection, "PRAGMA journal_mode = WAL")

    def _try_often(self, connection: sqlite3.Connection, statement: str) -> None:
        """Execute a statement in many short tries while the database is locked, up to the usual timeout."""
        deadline = time.monotonic() + BUSY_SECONDS
        connection.execute(f"PRAGMA busy_timeout = {TRY_MILLISECONDS}")
        try:
            while True:
                try:
                    connection.execute(statement)
                    break
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                        raise
        finally:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")

    def _version(self, connection: sqlite3.Connection) -> int:
        version, application, tables = connection.execute(_VERSION).fetchone()  # one statement reads one snapshot
        if application != APPLICATION_ID and (tables or version):
            raise errors.NotAKedgeDatabase(
                f"{self.path} is a SQLite database of another program{describe_tables(connection)}; give Kedge another "
                "path"
            )
        if version > len(migrations()):
            raise upgrade.newer_schema(str(self.path), version, len(migrations()))
        return int(version)

    def _check_schema(self) -> None:
        self._older, self._overlay = None, []
        with FORK_GATE.holding(self.file), closing(self._private()) as connection:
            found = self._version(connection)
            if not found:
                raise errors.NotAKedgeDatabase(
                    f"{self.path} has no Kedge schema yet; check the path, or create one with `kedge deploy`"
                )
            if found != len(migrations()):  # only a reader finds it so
                self._overlay, self._older = overlay(connection), found

    @staticmethod
    def min_writer(connection: sqlite3.Connection) -> int:
        """Return the least writer version that the database accepts, as the caller's transaction sees it."""
        found = connection.execute(_MIN_WRITER).fetchone()
        return upgrade.UNFENCED if found is None else int(found[0])

    @staticmethod
    def raise_fence(connection: sqlite3.Connection) -> None:
        """Refuse older writers from the caller's transaction on."""
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (upgrade.MIN_WRITER, upgrade.WRITER))

    # ── migration ──

    def check_here(self, connection: sqlite3.Connection) -> None:
        """Raise `Arriving` during a migration to here, and `Moved` for writing to a database that was moved."""
        found = dict(connection.execute("SELECT name, value FROM meta WHERE name IN ('arriving', 'moved')").fetchall())
        if "arriving" in found:
            arriving = msgspec.json.decode(found["arriving"], type=Arriving)
            raise errors.Arriving(arriving_message(f"sqlite:///{self.path}", arriving))
        if "moved" in found and not self.read_only:
            to = msgspec.json.decode(found["moved"], type=Sealed).to
            raise errors.Moved(moved_message(f"sqlite:///{self.path}", to))

    def moved_to(self) -> str:
        """Return where the database was moved to, or "" where it was not."""
        with FORK_GATE.holding(self.file), closing(self._private()) as connection:
            found = connection.execute("SELECT value FROM meta WHERE name = 'moved'").fetchone()
        return "" if found is None else msgspec.json.decode(found[0], type=Sealed).to

    # ── errors ──

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Translate SQLite errors raised inside."""
        try:
            yield
        except sqlite3.Error as error:
            raise self.translate(error) from error

    def translate(self, error: sqlite3.Error) -> errors.KedgeError:
        """Return the `KedgeError` for an SQLite error."""
        return translate(error, self.path, self.moved_to)


class Borrowed(Shielded[sqlite3.Connection]):
    """The use of a connection in autocommit mode."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self) -> sqlite3.Connection:
        """Lend a connection."""
        try:
            self._lent = self._database.lend()
        except sqlite3.Error as error:
            raise self._database.translate(error) from error
        return self._lent.connection

    def give(self, error: BaseException | None) -> None:
        """Take it back; an error of SQLite is raised as one of Kedge."""
        self._database.give_back(self._lent)
        if isinstance(error, sqlite3.Error):
            raise self._database.translate(error) from error


class Snapshot(Borrowed):
    """The use of a connection in a read transaction."""

    def take(self) -> sqlite3.Connection:
        """Lend a connection, and begin."""
        connection = super().take()
        try:
            connection.execute("BEGIN")
        except BaseException as error:
            super().give(error)
            raise
        return connection

    def give(self, error: BaseException | None) -> None:
        """End, and take the connection back."""
        if error is None:
            try:
                self._lent.connection.execute("COMMIT")
            except sqlite3.Error as failed:
                error = failed
        super().give(error)


class Transaction(Shielded[sqlite3.Connection]):
    """A write transaction, or a part of one that threads share."""

    def __init__(self, database: Database, what: str, begin: Callable[[], Lent], *, shares: bool) -> None:
        self._database = database
        self._what = what
        self._begin = begin
        self._shares = shares

    def take(self) -> sqlite3.Connection:
        """Begin, or join."""
        try:
            self._member = self._database.group_commit.enter(self._begin, shares=self._shares)
        except sqlite3.Error as error:
            raise self._database.translate(error) from error
        try:
            reach(f"{self._what}:begun")
        except BaseException as error:
            self._leave(error)
            raise
        return self._member.connection

    def give(self, error: BaseException | None) -> None:
        """Commit, or undo after an error; one of SQLite is raised as one of Kedge."""
        if error is None:
            try:
                reach(f"{self._what}:before-commit")
                check_not_cut(self._database.file)  # a child that was forked in here
            except BaseException as raised:
                self._leave(raised)
                raise
        self._leave(error)
        if error is None:
            reach(f"{self._what}:after-commit")

    def _leave(self, error: BaseException | None) -> None:
        try:
            self._database.group_commit.leave(self._member, error)
        except sqlite3.Error as failed:
            raise self._database.translate(failed) from failed
        if isinstance(error, sqlite3.Error):
            raise self._database.translate(error) from error


def check_not_cut(file: str) -> None:
    """Raise `Misuse` in a process that was forked while a call used this file."""
    if FORK_GATE.is_cut(file):
        raise errors.Misuse(
            f"{file} cannot be used here: this process was forked while a call of its parent used the database; fork "
            "between calls, or start new processes (the start method 'spawn' of multiprocessing)"
        )
