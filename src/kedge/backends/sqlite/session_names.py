"""Long session names on SQLite, each stored once."""

import json
import sqlite3
from collections.abc import Iterable

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.sql import queries
from kedge.model import session_names as rules
from kedge.model.upgrade import FEATURES_SINCE

_WRITE, _READ = queries("journal"), queries("provenance")


def stored_session(connection: sqlite3.Connection, session: str | None) -> str | None:
    """Return what a turn stores of its session, in a write transaction that may still fail."""
    if session is None or not rules.is_long(session) or Database.min_writer(connection) < FEATURES_SINCE:
        return session
    found = connection.execute(_WRITE["session_name_id"], (session,)).fetchone()
    if found is None:
        found = connection.execute(_WRITE["session_name_insert"], (session,)).fetchone()
    return rules.alias_of(found[0])


def named(database: Database, values: Iterable[rules.T]) -> list[rules.T]:
    """Return what was read of turns, with the names of their sessions."""
    read = list(values)
    ids = rules.ids_in(read)
    return rules.with_names(read, dict(database.ask(_READ["session_names"], json.dumps(sorted(ids))))) if ids else read
