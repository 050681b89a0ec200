"""One connection in use: statements go out in a pipeline, and are waited for where their rows are asked for."""

from typing import Any

import psycopg
from psycopg.types.array import ListBinaryDumper
from psycopg.types.numeric import FloatBinaryDumper, Int8BinaryDumper

Connection = psycopg.Connection[tuple[Any, ...]]
Cursor = psycopg.RawCursor[tuple[Any, ...]]


class Link:
    """A connection inside a pipeline."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, sql: bytes, *parameters: Any) -> Cursor:
        """Send a statement, and do not wait: what goes wrong is raised by the next one that is waited for."""
        cursor: Cursor = psycopg.RawCursor(self._connection)
        return cursor.execute(sql, parameters or None, binary=True)

    def rows(self, sql: bytes, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a statement."""
        return self.send(sql, *parameters).fetchall()

    def row(self, sql: bytes, *parameters: Any) -> tuple[Any, ...] | None:
        """Return the first row of a statement, or None where there is none."""
        return self.send(sql, *parameters).fetchone()

    def one(self, sql: bytes, *parameters: Any) -> tuple[Any, ...]:
        """Return the row of a statement that always has one."""
        found = self.row(sql, *parameters)
        assert found is not None, sql  # noqa: S101 - it has one, whatever is in the database
        return found


def prepare(connection: Connection) -> None:
    """Have numbers sent in one width, so that a statement has one plan whatever its parameters, and lists in binary."""
    connection.adapters.register_dumper(int, Int8BinaryDumper)
    connection.adapters.register_dumper(float, FloatBinaryDumper)
    connection.adapters.register_dumper(list, ListBinaryDumper)
