"""Journal port: append, heads, ranges and histories of one database."""

from collections.abc import Callable, Sequence
from typing import Protocol

from kedge.model.appends import Appended, HeadMoved
from kedge.model.heads import Range
from kedge.model.lineage import Lineage
from kedge.model.ranges import Span
from kedge.model.repeats import Call
from kedge.model.session_copy import Kept
from kedge.model.visibility import View
from kedge.model.writes import Batch, Head, Key, TurnEdges

__all__ = ["Appended", "HeadMoved", "Journal", "Range"]


class Journal(Protocol):
    """All writes, append-only, in one order.

    Laws: `append` is all or nothing and durable when it returns; seqs are strictly increasing in commit order, per
    key at least; it raises `EpochMoved` if the control record has left the batch's epoch. A call with the key and
    the content of one that the caller can see returns that one's seqs. Reads in a view without `upto` raise
    `EpochMoved` if the control record has left the view's epoch, so that no read is older than the last flip.
    """

    def append(self, batch: Batch) -> Appended:
        """Commit a batch, or find the earlier call that it repeats; return the seqs of its writes, in order."""

    def calls(self, view: View, idempotency: str) -> list[Call]:
        """Return the calls with this key that the view sees, the newest first."""

    def head(self, view: View, key: Key) -> Head | None:
        """Return the newest visible write at a key, a delete included, with its payload."""

    def heads(self, view: View, store: str, space: str, names: Sequence[str]) -> dict[str, Head]:
        """Return the heads of several names, deletes included, with payloads."""

    def range(self, view: View, store: str, space: str, names: Span | str = "", *, payloads: bool = True) -> Range:
        """Return the heads of a range, or of all names that begin with a prefix, without payloads if so asked.

        The tombstones are those of what it covered: with a limit, none that comes after the last head.
        """

    def contents(self, view: View, seqs: Sequence[int]) -> list[tuple[str, bytes | None]]:
        """Return (name, payload) of these writes, which the caller knows to be visible."""

    def history(self, view: View, space: str, limit: int | None) -> Range:
        """Return the newest `limit` memory heads of a session, oldest first."""

    def retracted(
        self, view: View, space: str, low: str, was_seen: Callable[[Lineage], bool]
    ) -> list[tuple[str, str, int]]:
        """Return (name, role, seq) of the seen messages from `low` on that a delete or a rollback has removed."""

    def stores(self) -> list[str]:
        """Return the names of the stores that anything was ever written to, in order."""

    def writes_of_session(self, session: str) -> list[Kept]:
        """Return all writes to a session's memory and to the spaces of keyed stores that are named after it."""

    def spaces(self, store: str) -> list[str]:
        """Return the names of a store's spaces."""

    def record_edges(self, turns: Sequence[TurnEdges]) -> None:
        """Record turns with what they had read and their edges, in this order, in one commit."""
