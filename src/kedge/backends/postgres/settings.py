"""What a connection is told at its start, so that Kedge's statements mean the same whoever set up the server."""

import json
from collections.abc import Mapping

import psycopg

from kedge.backends.postgres.link import Connection
from kedge.errors import InvalidValue

_DURABILITIES = {"full": "on", "normal": "off"}
_LOCK_SECONDS = 60
_VERSION_MIN = 140_000  # the oldest in which all that is sent means the same; see docs/postgres.md for what is tested
_SET = """
SELECT pg_catalog.pg_backend_pid(), pg_catalog.set_config(key, value, FALSE)
FROM pg_catalog.json_each_text($1::pg_catalog.json)
"""
# Functions and operators are the server's own and pgvector's, wherever that was installed: nobody's namesakes.
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
        "idle_in_transaction_session_timeout": f"{idle_seconds}s",  # who stops in a transaction may hold lanes
        "lock_timeout": f"{_LOCK_SECONDS}s",
        "jit": "off",
        "client_min_messages": "warning",  # that a commit waits for no standby any more is told by one
        "default_transaction_isolation": "read committed",
        "synchronous_commit": _DURABILITIES[durability],
        "tcp_keepalives_idle": "10",  # a client that vanished is let go of
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
    }


def search_path(connection: Connection) -> str:
    """Return where functions, operators and types are looked for."""
    return str(connection.execute(_PATH.encode()).fetchall()[0][0])


def settings_there(connection: Connection, settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that depend on the database, once it has its schema."""
    found = {"search_path": search_path(connection)}
    connection.execute("RESET synchronous_commit")
    usual = connection.execute("SHOW synchronous_commit").fetchall()[0][0]
    if settings["synchronous_commit"] == "on" and usual == "remote_apply":
        found["synchronous_commit"] = usual  # which promises more
    return found


def settle_in(connection: Connection, settings: Mapping[str, str]) -> int:
    """Give a new connection its settings; return the id of the server's process that serves it."""
    cursor = psycopg.RawCursor(connection)
    return int(cursor.execute(_SET.encode(), (json.dumps(dict(settings)),)).fetchall()[0][0])


def check_server(connection: Connection, where: str) -> None:
    """Raise `InvalidValue` for a server too old, or a database that cannot hold every text."""
    if connection.info.server_version < _VERSION_MIN:
        version, least = connection.info.server_version // 10_000, _VERSION_MIN // 10_000
        raise InvalidValue(f"{where} is served by PostgreSQL {version}, and Kedge needs {least} at least: upgrade it")
    encoding = connection.execute("SHOW server_encoding").fetchall()[0][0]
    if encoding != "UTF8":
        raise InvalidValue(
            f"{where} is encoded in {encoding}, which cannot hold every text; make a database with ENCODING 'UTF8' "
            "TEMPLATE template0"
        )
