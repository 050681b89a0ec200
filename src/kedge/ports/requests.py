"""Requests port: requests for approval, and their decisions."""

from typing import Protocol

from kedge.model.requests import LevelRequest, RequestStatus


class Requests(Protocol):
    """The requests for approval of one database.

    Laws: `decide` is an atomic compare-and-set on the status: of several decisions of one request one takes place, and
    all later answers show it. `add` of an id that is there changes nothing. All calls may be repeated.
    """

    def add(self, request: LevelRequest) -> None:
        """Store a request."""

    def find(self, ident: str) -> LevelRequest | None:
        """Return a request, or None."""

    def of(self, about: str) -> list[LevelRequest]:
        """Return the pending and approved requests that are bound to this, the oldest first."""

    def open(self, limit: int) -> list[LevelRequest]:
        """Return the newest requests that are pending or approved, up to a limit, the oldest first."""

    def decide(self, request: LevelRequest, before: RequestStatus) -> bool:
        """Replace a request by its decided form, where its status still is `before`; return whether it is this now."""

    def forget(self, before: float) -> int:
        """Delete what was asked before a moment; return how many requests."""
