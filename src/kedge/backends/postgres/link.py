"""Pipelined statements on one connection: each is sent at once, and only reading its rows waits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import generators
from psycopg.types.array import ListBinaryDumper
from psycopg.types.numeric import FloatBinaryDumper, Int8BinaryDumper

Connection = psycopg.Connection[tuple[Any, ...]]
Cursor = psycopg.Cursor[tuple[Any, ...]]  # a raw one
Rewrite = Callable[[bytes], bytes]

_CANCEL_SECONDS = 1.0


class Link:
    """A connection in use, in pipeline mode where a pipeline is given. `rewrite` adapts statements to the schema."""

    def __init__(
        self, connection: Connection, pipeline: psycopg.Pipeline | None = None, rewrite: Rewrite | None = None
    ) -> None:
        self._connection = connection
        self._pipeline = pipeline
        self._rewrite = rewrite

    def send(self, sql: bytes, *parameters: Any) -> Cursor:
        """Send a statement without waiting; its error is raised by the next statement that waits."""
        cursor: Cursor = self._connection.cursor()
        if self._rewrite is not None:
            sql = self._rewrite(sql)
        cursor.execute(sql, parameters or None, binary=True)
        if self._pipeline is not None and self._connection.pgconn.flush():
            # A part of a long statement is not sent, and psycopg would wait for its answer.
            self._connection.wait(generators.send(self._connection.pgconn))
        return cursor

    def rows(self, sql: bytes, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a statement."""
        cursor = self.send(sql, *parameters)
        self.wait()
        return cursor.fetchall()

    def row(self, sql: bytes, *parameters: Any) -> tuple[Any, ...] | None:
        """Return the first row of a statement, or None where there is none."""
        cursor = self.send(sql, *parameters)
        self.wait()
        return cursor.fetchone()

    def wait(self) -> None:
        """Wait for all statements sent so far. From here on the server counts the transaction as idle."""
        if self._pipeline is not None:
            self._pipeline.sync()

    def one(self, sql: bytes, *parameters: Any) -> tuple[Any, ...]:
        """Return the row of a statement that always has one."""
        found = self.row(sql, *parameters)
        assert found is not None, sql  # noqa: S101 - it has one in any database
        return found


@contextmanager
def pipelined(connection: Connection) -> Iterator[psycopg.Pipeline]:
    """Switch a connection to pipeline mode; an interruption (Ctrl-C) cancels its statements and closes it.

    psycopg would wait for the answers first, which may take as long as another transaction holds a lock.
    """
    with connection.pipeline() as pipeline:
        try:
            yield pipeline
        except Exception:
            raise
        except BaseException:
            try:
                with suppress(Exception):
                    connection.cancel_safe(timeout=_CANCEL_SECONDS)
            finally:
                connection.pgconn.finish()
            raise


def prepare(connection: Connection) -> None:
    """Send numbers in one width, so that a statement has one plan, and lists in binary."""
    connection.adapters.register_dumper(int, Int8BinaryDumper)
    connection.adapters.register_dumper(float, FloatBinaryDumper)
    connection.adapters.register_dumper(list, ListBinaryDumper)
