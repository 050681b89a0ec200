"""Schema migrations: scripts in order, applied at open under a row lock."""

import os
import re
from functools import cache
from importlib import resources

import psycopg

from kedge.backends.postgres.link import Connection, Rewrite
from kedge.backends.postgres.schema.older import rewriter
from kedge.backends.postgres.settings import search_path
from kedge.errors import NotAKedgeDatabase, UnknownName
from kedge.model import upgrade
from kedge.support.failpoints import reach

_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'kedge'"
_MADE_MEANWHILE = {"23505", "42710", "42P06", "42P07"}
_EXTENSION = "CREATE EXTENSION IF NOT EXISTS vector"
_STATEMENT = re.compile(r";\s*\n\n")


def migrate(connection: Connection, where: str, *, read_only: bool) -> int:
    """Migrate the schema, but not for a reader; return its number. Raise for one of another program or newer Kedge."""
    found = _version(connection, where)
    if found == len(migrations()) or (read_only and found):
        return found
    if read_only:
        raise UnknownName(
            f"there is no Kedge database at {where} yet; check the address, or create one with `kedge deploy`"
        )
    if not found:
        _make_version(connection)
    with connection.transaction():
        connection.execute("SELECT version FROM kedge.schema_version FOR UPDATE")  # a second process waits here
        found = _version(connection, where)
        if found == len(migrations()):
            return found
        vector = _vector_type(connection)
        connection.execute("SELECT pg_catalog.set_config('search_path', %s, TRUE)", (search_path(connection),))
        for script in migrations()[found:]:
            for statement in _STATEMENT.split(script):
                connection.execute(statement.replace("{vector}", vector).encode())
                reach("migrate:statement")
        connection.execute("UPDATE kedge.schema_version SET version = %s", (len(migrations()),))
        if found == 0:
            insert = "INSERT INTO kedge.meta (name, value) VALUES (%s, %s)"
            connection.execute(insert, ("database_id", os.urandom(16).hex().encode()))
            connection.execute(insert, ("header_key", os.urandom(32)))
            connection.execute(insert, (upgrade.MIN_WRITER, str(upgrade.WRITER).encode()))
        reach("migrate:before-commit")
    return len(migrations())


def adapt(found: int) -> Rewrite | None:
    """Return what adapts statements to schema `found`, or None where it is the present one."""
    return None if found == len(migrations()) else rewriter(migrations()[found:])


def _version(connection: Connection, where: str) -> int:
    tables = {row[0] for row in connection.execute(_TABLES.encode())}  # one statement: others may be creating them
    if "schema_version" not in tables:
        if tables:
            raise NotAKedgeDatabase(f"{where} has a schema `kedge` of another program; use another database")
        return 0
    version = int(_one(connection, "SELECT coalesce(max(version), 0) FROM kedge.schema_version"))
    if version > len(migrations()):
        raise upgrade.newer_schema(where, version, len(migrations()))
    return version


def _make_version(connection: Connection) -> None:
    for statement in (
        "CREATE SCHEMA IF NOT EXISTS kedge",
        "CREATE TABLE IF NOT EXISTS kedge.schema_version (id BIGINT PRIMARY KEY, version BIGINT NOT NULL)",
        "INSERT INTO kedge.schema_version (id, version) VALUES (1, 0) ON CONFLICT DO NOTHING",
    ):
        try:
            connection.execute(statement)
        except psycopg.Error as error:  # IF NOT EXISTS does not wait for a concurrent CREATE
            if error.sqlstate not in _MADE_MEANWHILE:
                raise


def _vector_type(connection: Connection) -> str:
    """Return the type that vectors are stored in: pgvector's where it is installed, or this user may install it."""
    try:
        with connection.transaction():
            connection.execute(_EXTENSION.encode())
    except psycopg.Error as error:
        if error.sqlstate is None:
            raise
        return "BYTEA"
    return "vector"


def _one(connection: Connection, sql: str) -> int:
    row = connection.execute(sql.encode()).fetchone()
    return 0 if row is None else row[0]


def migrations() -> list[str]:
    """Return the schema scripts in order; number i makes schema i + 1."""
    return _scripts()


@cache
def _scripts() -> list[str]:
    scripts = sorted(
        (item for item in resources.files(__package__).iterdir() if item.name.endswith(".sql")),
        key=lambda item: item.name,
    )
    return [script.read_text(encoding="utf-8").strip() for script in scripts]
