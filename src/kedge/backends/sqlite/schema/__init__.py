"""Schema migrations of a SQLite database, and the overlay that lets readers use an older schema.

A migration only adds: tables, indexes, and columns with a default. So a reader does not need it: temporary views and
tables of its connection take the place of what the database does not have yet.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from importlib import resources

from kedge.support.failpoints import reach

_COLUMNS = "SELECT name, dflt_value FROM pragma_table_info(?) ORDER BY cid"
_FILLED = re.compile(r"^INSERT INTO (\w+) ", re.MULTILINE)
_TABLES = "SELECT name FROM main.sqlite_schema WHERE type = 'table'"


@cache
def _scripts() -> list[str]:
    scripts = sorted(
        (item for item in resources.files(__package__).iterdir() if item.name.endswith(".sql")),
        key=lambda item: item.name,
    )
    return [script.read_text(encoding="utf-8").strip() for script in scripts]


def migrations() -> list[str]:
    """Return the schema scripts in order; number i makes schema i + 1."""
    return _scripts()


def expand(connection: sqlite3.Connection, found: int) -> None:
    """Apply the migrations after number `found`, in the caller's transaction."""
    for number, script in enumerate(migrations()[found:], start=found + 1):
        for statement in script.split(";\n\n"):
            connection.execute(statement)
            reach("migrate:statement")
        connection.execute(f"PRAGMA user_version = {number}")


def schema_of(connection: sqlite3.Connection) -> int:
    """Return the number of the schema."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def overlay(connection: sqlite3.Connection) -> list[str]:
    """Return the statements that make an older schema look like the present one, for this connection alone."""
    with closing(sqlite3.connect(":memory:")) as fresh:
        for script in migrations():
            fresh.executescript(script)
        return list(_additions(connection, fresh))


def _additions(connection: sqlite3.Connection, fresh: sqlite3.Connection) -> Iterator[str]:
    there = {name for (name,) in connection.execute(_TABLES)}
    for (table,) in fresh.execute(_TABLES).fetchall():
        wanted = dict(fresh.execute(_COLUMNS, (table,)).fetchall())
        if table not in there:
            columns = (name if default is None else f"{name} DEFAULT {default}" for name, default in wanted.items())
            yield f"CREATE TEMP TABLE {table} ({', '.join(columns)})"
            continue
        found = [name for name, _ in connection.execute(_COLUMNS, (table,))]
        added = [f"{default or 'NULL'} AS {name}" for name, default in wanted.items() if name not in found]
        if added:
            yield f"CREATE TEMP VIEW {table} AS SELECT {', '.join(found + added)} FROM main.{table}"  # noqa: S608 - names of our schema
    for script in migrations()[schema_of(connection) :]:
        for statement in script.split(";\n\n"):
            filled = _FILLED.search(statement)
            if filled is not None and filled[1] not in there:  # a name without a schema is the temporary table's
                yield statement
