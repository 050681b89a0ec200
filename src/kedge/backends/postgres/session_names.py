"""Long session names on PostgreSQL, each stored once."""

from collections.abc import Iterable

from kedge.backends.postgres.database import Database
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.sql import queries
from kedge.model import session_names as rules
from kedge.model.upgrade import FEATURES_SINCE, UNFENCED

_WRITE, _READ = queries("journal"), queries("provenance")
_MIN_WRITER = queries("upgrade")["schema"]


def stored_session(link: Link, session: str | None) -> str | None:
    """Return what a turn stores of its session, in a write transaction that may still fail."""
    if session is None or not rules.is_long(session):
        return session
    fence = link.one(_MIN_WRITER)[1]
    if (UNFENCED if fence is None else int(fence)) < FEATURES_SINCE:
        return session
    found = link.row(_WRITE["session_name_id"], session)
    if found is None:
        made = link.row(_WRITE["session_name_insert"], session)  # None: another transaction has committed it in between
        found = made or link.one(_WRITE["session_name_id"], session)
    return rules.alias_of(found[0])


def named(database: Database, values: Iterable[rules.T]) -> list[rules.T]:
    """Return what was read of turns, with the names of their sessions."""
    read = list(values)
    ids = rules.ids_in(read)
    return rules.with_names(read, dict(database.ask(_READ["session_names"], sorted(ids)))) if ids else read
