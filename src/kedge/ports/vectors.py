"""The vector index: it proposes rows, the journal disposes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from kedge.model.lineage import Lineage
from kedge.model.visibility import View
from kedge.model.writes import Head

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
METRICS = ("cosine", "dot", "l2")


class Collection(msgspec.Struct, frozen=True):
    """Vectors of one kind: their dimension and metric, the artifact that says who embeds them, and `fields`.

    These are the payload fields that an index is to hold, so that filters by them cost little.
    """

    name: str
    dim: int
    metric: str
    embedder: str
    fields: tuple[str, ...] = ()


class Found(msgspec.Struct, frozen=True):
    """A row that a search found: the write it is, and its score (greater is better)."""

    head: Head
    score: float


class Search(msgspec.Struct, frozen=True):
    """What a search found, and what else decided it; `elsewhere` are the lineages that decided `unembedded`."""

    found: list[Found]
    superseders: list[Head]
    unembedded: int
    elsewhere: frozenset[Lineage]
    exact: bool
    at_seq: int


class Tally(msgspec.Struct, frozen=True):
    """How many keys of a collection are present, and the lineages that this depends on."""

    count: int
    lineages: frozenset[Lineage]
    at_seq: int


class Reclaimed(msgspec.Struct, frozen=True):
    """What compaction has taken out of the files."""

    rows: int
    bytes: int


class SpaceHeads(msgspec.Struct, frozen=True):
    """The rows of one embedding space that are head in a view, by seq, ascending, as one instant shows them.

    `unembedded` counts the keys that are present in other spaces; `lineages` decide the keys of all spaces.
    """

    seqs: Ints
    unembedded: int
    lineages: frozenset[Lineage]
    at_seq: int


class VectorIndex(Protocol):
    """Search over the vectors that the journal holds.

    Laws: a row is found only if it is head in the view (DESIGN §5); a view without `upto` whose epoch has been left
    raises `EpochMoved`; rows of other embedding spaces are never compared, only counted. `superseders` holds, for
    every row that the view sees and that would have ranked, the head that took its place. An index may miss rows
    (then `exact` is False); it never returns one that the journal would not. What passes a filter is what
    `kedge.model.filters.matches` says of its payload, superseded rows included; declared fields change no answer, only
    what it costs, and may be added at any time.
    """

    def declare(self, collection: Collection, at: float) -> Collection:
        """Record a collection, or add its fields to those of the one of that name that is there; return what is."""

    def collection(self, name: str) -> Collection | None:
        """Return a collection, or None."""

    def collections(self) -> list[Collection]:
        """Return all collections by name."""

    def dim(self, collection: str, space: str) -> int | None:
        """Return the dimension of an embedding space, or None where nothing was written to it."""

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
        """Return the `k` best rows of one embedding space for a query of shape (dim,), by no index if `exact`."""

    def optimize(self, collection: Collection, progress: Callable[[int, int], None] | None = None) -> int:
        """Index the rows of a collection that are not indexed yet; return how many are then."""

    def compact(self, collection: Collection, progress: Callable[[int, int], None] | None = None) -> Reclaimed:
        """Take the rows that no view can need any more out of the files, where they are more than a few.

        Laws: no view answers otherwise for it, at any point that can be read; where one cannot be any more, that is
        `PastUnreadable`. It blocks no reader, and a writer for moments only. Stopped anywhere, nothing is lost.
        """

    def vectors(self, heads: Sequence[Head]) -> list[Floats]:
        """Return the stored vector of each of these vector writes, or raise `PastUnreadable` where it was reclaimed."""

    def tally(self, view: View, collection: str) -> Tally:
        """Count the keys present in a collection, over all embedding spaces."""

    def space_heads(self, view: View, collection: Collection, space: str) -> SpaceHeads:
        """Return the rows of one embedding space that are head: what an iteration goes through."""

    def matrix(self, collection: Collection, space: str, seqs: Ints) -> tuple[Ints, Floats]:
        """Return which of these seqs, by position, are rows of an embedding space, and their vectors, read-only.

        Rows that lie beside one another are not copied; a row that was compacted away is none any more.
        """
