"""Session settings, which make Kedge's statements independent of the server's configuration."""

import json
from collections.abc import Mapping
from contextlib import suppress

import psycopg

from kedge.backends.postgres.link import Connection
from kedge.errors import InvalidValue
from kedge.model import upgrade

_DURABILITIES = {"full": "on", "normal": "off"}
_LOCK_SECONDS = 60
# The server ends a session that waits for a lock once its client is gone, which may hold locks of others.
_CHECK_CLIENT = "client_connection_check_interval"
_CHECK_CLIENT_SECONDS = 1
_VERSION_MIN = 140_000  # the oldest that supports all statements; docs/postgres.md lists the tested ones
_SET = """
SELECT pg_catalog.pg_backend_pid(), pg_catalog.set_config(key, value, FALSE)
FROM pg_catalog.json_each_text($1::pg_catalog.json)
"""
# Only the schemas of the server and of pgvector: a function of the same name elsewhere is never called.
_PATH = """
SELECT pg_catalog.concat_ws(', ', 'pg_catalog', (
    SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_extension e
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace
    WHERE e.extname OPERATOR(pg_catalog.=) 'vector'))
"""


def settings_for(durability: str, idle_seconds: int) -> dict[str, str]:
    """Return the settings of every session."""
    if durability not in _DURABILITIES:
        raise InvalidValue(f"durability {durability!r} is unknown; use 'full' or 'normal'")
    return {
        "idle_in_transaction_session_timeout": f"{idle_seconds}s",  # an idle transaction can keep lanes locked
        "lock_timeout": f"{_LOCK_SECONDS}s",
        "jit": "off",
        "client_min_messages": "warning",  # one reports a commit that no longer waits for a standby
        "default_transaction_isolation": "read committed",
        "synchronous_commit": _DURABILITIES[durability],
        "tcp_keepalives_idle": "10",  # the server ends the session of a client that vanished
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "kedge.writer": str(upgrade.WRITER),  # for the fence
    }


def search_path(connection: Connection) -> str:
    """Return the search path for functions, operators and types."""
    return str(connection.execute(_PATH.encode()).fetchall()[0][0])


def database_settings(connection: Connection, settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that depend on the database, once it has its schema."""
    found = {"search_path": search_path(connection)}
    connection.execute("RESET synchronous_commit")
    usual = connection.execute("SHOW synchronous_commit").fetchall()[0][0]
    if settings["synchronous_commit"] == "on" and usual == "remote_apply":
        found["synchronous_commit"] = usual  # the stronger guarantee
    with suppress(psycopg.Error):  # a server on a system that cannot do it
        connection.execute(f"SET {_CHECK_CLIENT} = '{_CHECK_CLIENT_SECONDS}s'".encode())
        found[_CHECK_CLIENT] = f"{_CHECK_CLIENT_SECONDS}s"
    return found


def apply_settings(connection: Connection, settings: Mapping[str, str]) -> int:
    """Apply settings to a new connection; return the pid of its server process."""
    cursor = psycopg.RawCursor(connection)
    return int(cursor.execute(_SET.encode(), (json.dumps(dict(settings)),)).fetchall()[0][0])


def check_server(connection: Connection, where: str) -> None:
    """Raise `InvalidValue` for a server too old, or a database that cannot hold every text."""
    if connection.info.server_version < _VERSION_MIN:
        version, least = connection.info.server_version // 10_000, _VERSION_MIN // 10_000
        raise InvalidValue(f"{where} runs PostgreSQL {version}; Kedge needs {least} or newer: upgrade it")
    encoding = connection.execute("SHOW server_encoding").fetchall()[0][0]
    if encoding != "UTF8":
        raise InvalidValue(
            f"{where} has the encoding {encoding}, which cannot store every text; create a database with ENCODING "
            "'UTF8' TEMPLATE template0"
        )
