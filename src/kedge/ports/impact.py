"""Impact of deployments: what they wrote, and which heads change when they are hidden."""

from collections.abc import Iterable
from typing import Protocol

import msgspec

from kedge.model.visibility import View
from kedge.model.writes import Head, Key


class WriteCount(msgspec.Struct, frozen=True):
    """How many puts and deletes of a set of lineages one space of a store holds."""

    store: str
    space: str
    puts: int
    deletes: int

    @property
    def total(self) -> int:
        """Puts and deletes together."""
        return self.puts + self.deletes


class StoreTotal(msgspec.Struct, frozen=True):
    """How many writes of a set of lineages a store holds, in how many spaces."""

    store: str
    spaces: int
    writes: int


class Arrival(msgspec.Struct, frozen=True):
    """A write of one of a set of lineages: its seq, its time, and the id of its lineage."""

    seq: int
    at: float
    lineage: int


class Impact(Protocol):
    """Questions of plans, promotions and reports: what do these lineages hold, and what do readers get without them?

    Laws:

    - Read-only. A call may be repeated at any time.
    - Snapshot: each call answers from one snapshot of committed writes. Two calls may see different snapshots.
    - No epoch check: `head_pairs` takes views of any epoch, because a plan compares views that do not exist yet.
    - Completeness: `lineages_with`, `count_writes` and `totals` are exact and include what is hidden or purged.
    - A cost that does not grow with the journal: counts come from counters, keys and heads from indexes of heads. That
      of `arrivals` grows with the writes after its seq.
    """

    def lineages_with(self, numbers: Iterable[int], without: Iterable[int] = ()) -> list[int]:
        """Return the ids of all lineages that hold one of these deployments and none of those in `without`."""

    def count_writes(self, lineages: Iterable[int], limit: int | None = None) -> list[WriteCount]:
        """Count the writes of these lineages by space, in order of store and space, for the first `limit` spaces.

        Spaces without any are left out.
        """

    def totals(self, lineages: Iterable[int]) -> list[StoreTotal]:
        """Count the writes of these lineages by store, in order of store; stores without any are left out."""

    def affected_keys(self, lineages: Iterable[int], limit: int) -> list[Key]:
        """Return up to `limit` keys where one of these lineages has a head, each once, space by space."""

    def count_affected_keys(self, lineages: Iterable[int]) -> int:
        """Count the keys where one of these lineages has a head; a key counts once a lineage."""

    def head_pairs(self, before: View, after: View, keys: Iterable[Key]) -> list[tuple[Head | None, Head | None]]:
        """Return the heads of each key in two views without `upto`, in the order of the keys.

        Those of artifacts come with their payloads, others without.
        """

    def arrivals(self, lineages: Iterable[int], after: int, limit: int) -> list[Arrival]:
        """Return the newest writes of these lineages after a seq, up to a limit, newest first."""

    def written_by_both(self, number: int, limit: int) -> list[Key]:
        """Return up to `limit` keys, each once, that have heads of this deployment and heads of others without it."""
