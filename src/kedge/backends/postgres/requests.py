"""Requests for approval on PostgreSQL."""

from kedge.backends.postgres.database import Database, again
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.sql import queries
from kedge.model.requests import LevelRequest, RequestStatus, decode, encode

_SQL = queries("requests")


class PostgresRequests:
    """The `Requests` port of one PostgreSQL database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, request: LevelRequest) -> None:
        """Store a request."""
        row = request.id, request.kind, request.about, request.status, request.since, encode(request)
        self._database.write("requested", lambda link: link.send(_SQL["add"], *row), find=again)

    def find(self, ident: str) -> LevelRequest | None:
        """Return a request, or None."""
        rows = self._database.ask(_SQL["find"], ident)
        return decode(bytes(rows[0][0])) if rows else None

    def of(self, about: str) -> list[LevelRequest]:
        """Return the pending and approved requests that are bound to this, the oldest first."""
        return [decode(bytes(row[0])) for row in self._database.ask(_SQL["of"], about)]

    def open(self, limit: int) -> list[LevelRequest]:
        """Return the newest requests that are pending or approved, up to a limit, the oldest first."""
        return [decode(bytes(row[0])) for row in reversed(self._database.ask(_SQL["open"], limit))]

    def decide(self, request: LevelRequest, before: RequestStatus) -> bool:
        """Replace a request by its decided form, where its status still is `before`; return whether it is this now."""
        row = request.status, encode(request), request.id, before
        self._database.write("decided", lambda link: link.send(_SQL["decide"], *row), find=again)
        return self.find(request.id) == request

    def forget(self, before: float) -> int:
        """Delete what was asked before a moment; return how many requests."""

        def act(link: Link) -> int:
            return len(link.rows(_SQL["forget"], before))

        return self._database.write("forgot-requests", act, find=again)
