"""Result cache, stamped like writes and stored outside the journal."""

from typing import Protocol

import msgspec

from kedge.model.lineage import Lineage
from kedge.model.visibility import View


class Cached(msgspec.Struct, frozen=True):
    """A cache entry that a view may use."""

    payload: bytes
    lineage: Lineage
    at: float


class Cache(Protocol):
    """Results by key. An entry is returned only to views that see its lineage. It may vanish at any time.

    Laws: `find` raises `EpochMoved` if the control record has left the view's epoch.
    """

    def find(self, view: View, key: bytes, now: float) -> list[Cached]:
        """Return the entries of a key that the view sees and that have not expired, newest first: one a lineage."""

    def put(self, key: bytes, payload: bytes, lineage: Lineage, now: float, ttl: float | None) -> None:
        """Keep an entry, and drop expired and then the oldest ones beyond the size cap."""
