"""Vector engine port: reading, writing and maintaining the vectors of collections.

An engine proposes rows; the journal decides which of them a view sees. One engine implements `VectorReader` and
`VectorWriter`, and, where it can, `VectorIndexer` and `VectorCompactor`. To add an engine, write one module and one
fixture that joins `kedge.testing.contracts.VectorContract`; `kedge.testing.memory_vectors` is the smallest example.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from kedge.model.lineage import Lineage
from kedge.model.vector_groups import VectorGroup
from kedge.model.visibility import View
from kedge.model.writes import Head
from kedge.support.display import Value

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
METRICS = ("cosine", "dot", "l2")
T = TypeVar("T")
Transaction_contra = TypeVar("Transaction_contra", contravariant=True)


class Collection(Value, frozen=True):
    """A collection's settings: dimension, metric, the artifact key of its embedder, and `fields`.

    `fields` are the payload fields that the engine indexes, so that filters on them are cheap.
    """

    name: str
    dim: int
    metric: str
    embedder: str
    fields: tuple[str, ...] = ()


class Found(msgspec.Struct, frozen=True):
    """One search result: the write, and its score (greater is better)."""

    head: Head
    score: float


class Search(msgspec.Struct, frozen=True):
    """The result of a search, and the writes that influenced it.

    `superseders`: see `VectorReader`. `unembedded` counts the keys present in other embedding spaces only, and
    `elsewhere` holds the lineages that decide this count. `exact`: every visible row was compared.
    """

    found: list[Found]
    superseders: list[Head]
    unembedded: int
    elsewhere: frozenset[Lineage]
    exact: bool
    at_seq: int


class Tally(msgspec.Struct, frozen=True):
    """The number of keys present in a collection, and the lineages that decide it."""

    count: int
    lineages: frozenset[Lineage]
    at_seq: int


class Reclaimed(Value, frozen=True):
    """The rows that a compaction removed, and the bytes that it freed."""

    rows: int
    bytes: int


class SpaceHeads(msgspec.Struct, frozen=True):
    """The heads of one embedding space in a view: seqs in ascending order, read in one transaction.

    `unembedded` counts the keys that are present in other spaces; `lineages` decide the keys of all spaces.
    """

    seqs: Ints
    unembedded: int
    lineages: frozenset[Lineage]
    at_seq: int


class VectorReader(Protocol):
    """Search and lookup of stored vectors.

    Laws:

    - A row is found only if it is head in the view (DESIGN §5). An engine may miss rows (`exact` is then False); it
      never returns a row that the journal would not return.
    - A view without `upto` raises `EpochMoved` if the control record has left the view's epoch.
    - A row whose write is not committed is not found, whatever `VectorWriter` has stored for it.
    - Rows of different embedding spaces are never compared, only counted.
    - Where a search is exact, its hits are those of float64 scores of the stored vectors; equal scores rank by id.
    - `superseders` holds, in order of names, the head at the name of each superseded row that would rank among the
      hits, with the lineage that it does not share with the row. A row whose superseder brings nothing of its own to
      any view, and a past view, has none: they decide nothing.
    - A row passes a filter if `kedge.model.filters.matches` says so of its payload. This holds for superseded rows too.
      Declared fields change the cost of a filter, never its result, and may be added at any time.
    """

    def collection(self, name: str) -> Collection | None:
        """Return a collection, or None."""

    def collections(self) -> list[Collection]:
        """Return all collections, ordered by name."""

    def dim(self, collection: str, space: str) -> int | None:
        """Return the dimension of an embedding space, or None if nothing was written to it."""

    def search(
        self,
        view: View,
        collection: Collection,
        space: str,
        query: Floats,
        k: int,
        where: Mapping[str, Any] | None,
        *,
        exact: bool = False,
    ) -> Search:
        """Return the `k` best rows of one embedding space for a query of shape (dim,); `exact` uses no index."""

    def vectors(self, heads: Sequence[Head]) -> list[Floats]:
        """Return the stored vector of each of these writes; raise `PastUnreadable` if one was reclaimed.

        The vector of an erased write is zeros until it is reclaimed, in an engine that reclaims later.
        """

    def tally(self, view: View, collection: str) -> Tally:
        """Count the keys present in a collection, over all embedding spaces."""

    def space_heads(self, view: View, collection: Collection, space: str) -> SpaceHeads:
        """Return the rows of one embedding space that are head: the rows that an iteration visits."""

    def matrix(self, collection: Collection, space: str, seqs: Ints) -> tuple[Ints, Floats]:
        """Return the positions in `seqs` that are rows of an embedding space, and their vectors, read-only.

        The vectors have shape (n, dim). Contiguous rows need not be copied. Compacted rows are absent.
        """


class VectorWriter(Protocol[Transaction_contra]):
    """Storage of vectors, called by the journal. Its type parameter is the journal's own write transaction.

    Laws:

    - Atomic: a row is visible to readers exactly if its write commits. If the block of `storing` raises, or the
      commit fails later, the journal reuses the seqs. What the engine stored for them must then be unreachable.
    - Durable: when the block of `storing` ends, the vectors are as durable as the transaction will be.
    - Quiet: once the block has ended, in whatever way, no thread of the engine writes rows of this batch.
    - State: an engine that keeps, for each row, which lineages supersede it updates this in `storing`. It may instead
      ask the journal at each search. A rollback or reinstatement changes views only: it never calls the writer.
    - Erased vectors are unreadable for every process once `erase` returns, on disk too.
    """

    def declare(self, collection: Collection, at: float) -> Collection:
        """Record a collection, or add its fields to the existing one of that name; return the stored collection.

        Raise `Conflict` if the existing collection has another dimension, metric or embedder.
        """

    def storing(
        self, transaction: Transaction_contra, group: VectorGroup, settled: Lineage
    ) -> AbstractContextManager[None]:
        """Store the vectors of a group of a batch's writes, or only the deletes if it has none.

        The journal inserts the writes of the whole batch in the block of the first group, so that an engine may write
        its data meanwhile; further groups follow one by one. When the block ends, the transaction holds these writes.
        Raise `InvalidVector` if the dimension is not the space's.
        """

    def committed(self) -> None:
        """Run after a transaction with `storing` has committed; start background work here. Must not block."""

    def erase(self, lineages: Iterable[int]) -> None:
        """Erase the vectors of all writes of these lineages (ids), outside any transaction. May be repeated."""


@contextmanager
def stored_in_turn(
    writer: VectorWriter[T], transaction: T, groups: Sequence[VectorGroup], settled: Lineage
) -> Iterator[None]:
    """Store the vector groups of a batch one after another; the block, which inserts its writes, is in the first."""
    with writer.storing(transaction, groups[0], settled) if groups else nullcontext():
        yield
    for group in groups[1:]:
        with writer.storing(transaction, group, settled):
            pass


class VectorIndexer(Protocol):
    """Optional ability: an approximate index that is built on request."""

    def optimize(self, collection: Collection, progress: Callable[[int, int], None] | None = None) -> int:
        """Index the rows of a collection that are not indexed yet; return the number of indexed rows."""


class VectorCompactor(Protocol):
    """Optional ability: giving back the space of rows that no view can need any more."""

    def compact(
        self, collection: Collection, progress: Callable[[int, int], None] | None = None, *, logged: bool = True
    ) -> Reclaimed:
        """Remove the rows that no view can need any more, if they are more than a few percent.

        It is an entry of the log, unless the caller logs it as part of its own.

        Laws: no view gives another answer afterwards, at any point that is still readable; other points raise
        `PastUnreadable`. Readers are never blocked, writers only for moments. A crash at any time loses nothing. While
        a deployment is rolled back, source rows stay: its replay may need them.
        """

    def reclaimed(self, collection: str) -> int:
        """Return the seq before which a collection is readable at snapshots only, since superseded rows are gone."""
