"""Requests for approval on SQLite."""

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.sql import queries
from kedge.model.requests import LevelRequest, RequestStatus, decode, encode

_SQL = queries("requests")


class SqliteRequests:
    """The `Requests` port of one SQLite database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, request: LevelRequest) -> None:
        """Store a request."""
        row = request.id, request.kind, request.about, request.status, request.since, encode(request)
        with self._database.writing("requested") as connection:
            connection.execute(_SQL["add"], row)

    def find(self, ident: str) -> LevelRequest | None:
        """Return a request, or None."""
        rows = self._database.ask(_SQL["find"], ident)
        return decode(rows[0][0]) if rows else None

    def of(self, about: str) -> list[LevelRequest]:
        """Return the pending and approved requests that are bound to this, the oldest first."""
        return [decode(row[0]) for row in self._database.ask(_SQL["of"], about)]

    def open(self, limit: int) -> list[LevelRequest]:
        """Return the newest requests that are pending or approved, up to a limit, the oldest first."""
        return [decode(row[0]) for row in reversed(self._database.ask(_SQL["open"], limit))]

    def decide(self, request: LevelRequest, before: RequestStatus) -> bool:
        """Replace a request by its decided form, where its status still is `before`; return whether it is this now."""
        with self._database.writing("decided") as connection:
            connection.execute(_SQL["decide"], (request.status, encode(request), request.id, before))
        return self.find(request.id) == request

    def forget(self, before: float) -> int:
        """Delete what was asked before a moment; return how many requests."""
        with self._database.writing("forgot-requests") as connection:
            return connection.execute(_SQL["forget"], (before,)).rowcount
