"""Generations of sessions in PostgreSQL, in the order in which they were fixed."""

from collections.abc import Iterable

from kedge.backends.postgres.database import Database
from kedge.backends.postgres.sql import queries
from kedge.model.control_log import Session, decode_numbers, decode_session
from kedge.model.lineage import EMPTY, Lineage

_SQL = queries("assignments")


class PostgresAssignments:
    """What the sessions of one database were fixed to."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def assigned(self, after: int, upto: int, limit: int) -> list[Session]:
        """Return up to `limit` generations with a seq after one and up to another, in order of seq."""
        return [decode_session(row) for row in self._database.ask(_SQL["assigned"], after, upto, limit)]

    def newest(self, upto: int, limit: int) -> list[Session]:
        """Return up to `limit` generations with a seq up to one, the newest first."""
        return [decode_session(row) for row in self._database.ask(_SQL["newest"], upto, limit)]

    def generations(self, sessions: Iterable[str]) -> list[Session]:
        """Return all generations of these sessions, in order of seq."""
        return [decode_session(row) for row in self._database.ask(_SQL["generations"], list(sessions))]

    def of_units(self, units: Iterable[str], after: int, upto: int) -> list[Session]:
        """Return the generations with one of these as their `unit_id`, in a range of seqs, in order of seq."""
        rows = self._database.ask(_SQL["of_units"], list(units), after, upto)
        return [decode_session(row) for row in rows]

    def carried(self, sessions: Iterable[str]) -> dict[str, Lineage]:
        """Return what the writes in the memory of these sessions carry, those without any left out."""
        found: dict[str, Lineage] = {}
        for session, members in self._database.ask(_SQL["carried"], list(sessions)):
            found[session] = found.get(session, EMPTY) | decode_numbers(members)
        return found
