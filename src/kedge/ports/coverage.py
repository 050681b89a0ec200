"""Embedding coverage: which documents have a vector of their own, and which names a backfill visits."""

from collections.abc import Iterable
from typing import Protocol

import msgspec

from kedge.model.visibility import View
from kedge.model.writes import Head


class Uncovered(msgspec.Struct, frozen=True):
    """A visible document whose vector is hidden, and the turn that wrote that vector.

    `document` is the seq of the document's head, `rank` its rank. `covering` is the seq of the vector that is visible
    at its id, 0 where there is none.
    """

    name: str
    document: int
    rank: int
    covering: int
    turn: int
    agent: str | None
    session: str | None


class EmbeddingCoverage(Protocol):
    """Questions of backfills, plans and replay: which ids exist, and what were their vectors computed from?

    Laws:

    - Read-only. A call may be repeated at any time; each answers from one snapshot of committed writes.
    - Order: names come in code-point order, each once. `names_after` with the last name of a page returns the next
      page; pages together hold every name that was there throughout.
    - Unfiltered: names and embeddings ignore visibility, deletes included. A purge removes the names that only
      purged deployments wrote from `names_after` and `names_count`. Only `uncovered` applies a view.
    - No epoch check: `uncovered` takes a view of any epoch without `upto`, because a plan asks about the view after it.
    """

    def names_after(self, store: str, space: str, name: str, limit: int) -> list[str]:
        """Return the next `limit` names that were ever written in a space, visible or not."""

    def names_count(self, store: str, space: str) -> int:
        """Return how many names were ever written in a space."""

    def names_since(self, store: str, space: str, seq: int, without: Iterable[int] = ()) -> list[str]:
        """Return the names written in a space after a seq; writes of the lineages in `without` do not count."""

    def embedding_spaces(self, vectors: Iterable[Head]) -> dict[int, str]:
        """Return the embedding space of each vector write, by seq; reclaimed vectors are left out."""

    def embedded_versions(self, collection: str, vectors: Iterable[Head]) -> dict[int, int]:
        """Return, by the seq of each vector, the seq of the version of its document that the vector's turn had read.

        Only reads journaled with the batch that wrote the vector count. Vectors whose turn read no version of the
        document are left out. The heads are of one collection, one a name.
        """

    def uncovered(
        self, view: View, lineages: Iterable[int], collection: str, *, include_covered: bool
    ) -> list[Uncovered]:
        """Return the visible documents that have a vector of these lineages and no newer visible vector, by name.

        With `include_covered`, those that have a newer visible vector are returned, too.
        """
