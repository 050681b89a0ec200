"""Vectors of one collection."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from kedge.errors import InvalidValue, InvalidVector, PastUnreadable, UnknownName, nearest
from kedge.model.artifacts import dimension_of, unpack
from kedge.model.filters import check_filter
from kedge.model.reads import RangeRead
from kedge.model.writes import Head, Key, Origin, Pending, VectorBatch, check_name, decode, encode
from kedge.ports.vectors import Collection, Floats, VectorIndex
from kedge.stores.scope import Scope, WritingScope

_MATRIX = 2  # dimensions of an array


class Hit(msgspec.Struct, frozen=True):
    """One row that a search found; `score` is greater for the better, `lineage` holds deployment names."""

    id: str
    score: float
    payload: Any
    seq: int
    lineage: frozenset[str]


class Hits(list[Hit]):
    """The hits of one search, best first. `exact` says whether every row was compared."""

    def __init__(
        self,
        hits: Iterable[Hit] = (),
        *,
        exact: bool = True,
        unembedded: int = 0,
        on_reading: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(hits)
        self.exact = exact
        self._unembedded = unembedded
        self._on_reading = on_reading

    @property
    def unembedded(self) -> int:
        """How many keys are present in other embedding spaces only. To ask for it is a read of all that decides it."""
        if self._on_reading is not None:
            self._on_reading()
        return self._unembedded


class VectorRow(msgspec.Struct, frozen=True):
    """One stored vector, float32 of shape (dim,), with its payload."""

    id: str
    vector: Floats
    payload: Any
    seq: int


class VectorsView:
    """The vectors of one collection, as a view sees them."""

    def __init__(self, scope: Scope, name: str) -> None:
        self._reader = scope
        self._collection = find_collection(scope.backend.vectors, name)

    @property
    def collection(self) -> Collection:
        """What was declared: dimension, metric and embedder."""
        return self._collection

    def _embedder(self) -> tuple[str, int]:
        """Read the head of the collection's embedder; return its embedding space and dimension."""
        key = Key("artifacts", "", self._collection.embedder)
        head = self._reader.read(lambda view: self._reader.backend.journal.head(view, key))
        if head is not None:
            self._reader.saw((head,))
        if head is None or head.deleted:
            return "", self._collection.dim
        artifact = unpack(head.payload)
        return artifact.digest, dimension_of(artifact, self._collection.dim)

    def search(
        self,
        vector: npt.ArrayLike,
        k: int = 10,
        where: Mapping[str, Any] | None = None,
        *,
        exact: bool = False,
    ) -> Hits:
        """Return the `k` best hits for a query vector of shape (dim,), in the space of the view's embedder.

        `where` filters payloads: `{"lang": "en"}`, `{"n": {"gte": 3, "lt": 9}}`, `{"tag": {"in": [...]}}`,
        `{"and": [...]}`, `{"or": [...]}`. `exact` compares every row;
        without it, large collections are searched by their index, and the hits say whether that was so.
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise InvalidValue(f"k={k!r} is not a number of hits, 1 or more")
        if where is not None:
            check_filter(where)
        space, dim = self._embedder()
        query = _as_rows(vector, dim, self._collection, ["the query"], single=True)[0]
        index = self._reader.backend.vectors
        result = self._reader.read(
            lambda view: index.search(view, self._collection, space, query, k, where, exact=exact)
        )
        self._reader.saw([found.head for found in result.found])
        self._reader.saw(result.superseders)
        hits = [
            Hit(f.head.key.name, f.score, decode(f.head.payload), f.head.seq, self._reader.names(f.head.lineage))
            for f in result.found
        ]
        counted = RangeRead("vectors", self._collection.name, "", result.at_seq)
        return Hits(
            hits,
            exact=result.exact,
            unembedded=result.unembedded,
            on_reading=lambda: self._reader.saw_range(counted, result.elsewhere),
        )

    def get(self, ids: Sequence[str]) -> dict[str, VectorRow]:
        """Return the rows of these ids that are present, whatever their embedding space."""
        ids = _as_ids(ids)
        self._embedder()
        heads, rows = self._heads_and_vectors(ids)
        self._reader.saw(heads.values())
        present = [head for head in heads.values() if not head.deleted]
        return {
            h.key.name: VectorRow(h.key.name, v, decode(h.payload), h.seq) for h, v in zip(present, rows, strict=True)
        }

    def _heads_and_vectors(self, ids: Sequence[str]) -> tuple[dict[str, Head], list[Floats]]:
        """Return heads, and the vectors of those that are present; both anew where a compaction comes in between."""
        before: dict[str, Head] | None = None
        while True:
            heads = self._heads(ids)
            try:
                present = [head for head in heads.values() if not head.deleted]
                return heads, self._reader.backend.vectors.vectors(present)
            except PastUnreadable:
                if heads == before:
                    raise
                before = heads

    def _heads(self, ids: Sequence[str]) -> dict[str, Head]:
        name = self._collection.name
        return self._reader.read(lambda view: self._reader.backend.journal.heads(view, "vectors", name, ids))

    def count(self) -> int:
        """Return how many ids are present, over all embedding spaces."""
        self._embedder()
        name = self._collection.name
        tally = self._reader.read(lambda view: self._reader.backend.vectors.tally(view, name))
        self._reader.saw_range(RangeRead("vectors", name, "", tally.at_seq), tally.lineages)
        return tally.count

    def ids(self) -> list[str]:
        """Return the ids that are present, in order."""
        self._embedder()
        return [head.key.name for head in self._range()]

    def _range(self) -> list[Head]:
        name = self._collection.name
        found = self._reader.read(
            lambda view: self._reader.backend.journal.range(view, "vectors", name, payloads=False)
        )
        lineages = {head.lineage for head in found.heads} | found.tombstones
        self._reader.saw_range(RangeRead("vectors", name, "", found.at_seq), lineages)
        return found.heads


class Vectors(VectorsView):
    """The vectors of one collection, for a turn to read and write."""

    def __init__(self, scope: WritingScope, name: str) -> None:
        super().__init__(scope, name)
        self._writer = scope

    def upsert(
        self,
        ids: Sequence[str],
        matrix: npt.ArrayLike,
        payloads: Sequence[Any] | None = None,
        *,
        embedder: str | None = None,
        origin: str | None = None,
        idempotency: str | None = None,
    ) -> list[int]:
        """Write vectors, float32 of shape (n, dim), with JSON payloads, as one batch; return their seqs.

        They belong to the embedding space of the embedder that the view sees; `embedder` is the digest that the
        caller embedded with, and a foreign one is refused.
        """
        ids = _as_ids(ids)
        if not ids:
            return []
        space, dim = self._embedder()
        if embedder is not None and embedder != space:
            raise InvalidVector(
                f"{ids[0]!r} was embedded by {embedder!r}, but this turn sees {space!r} at "
                f"{self._collection.embedder!r}; embed it with what turn.artifacts holds"
            )
        rows = _as_rows(matrix, dim, self._collection, ids)
        given = [None] * len(ids) if payloads is None else list(payloads)
        if len(given) != len(ids):
            raise InvalidVector(f"{len(ids)} ids came with {len(given)} payloads; give one each")
        source = self._writer.is_source(origin, Origin.DERIVED)
        pending = [
            Pending(Key("vectors", self._collection.name, ident), encode(payload, f"the payload of {ident!r}"), source)
            for ident, payload in zip(ids, given, strict=True)
        ]
        return self._writer.write(pending, idempotency=idempotency, vectors=VectorBatch(space, dim, rows.tobytes()))

    def delete(self, ids: Sequence[str], *, origin: str | None = None, idempotency: str | None = None) -> list[int]:
        """Delete these ids, in whatever embedding space, as one batch; return the seqs of the deletes."""
        ids = _as_ids(ids)
        self._embedder()
        source = self._writer.is_source(origin, Origin.DERIVED)
        pending = [Pending(Key("vectors", self._collection.name, ident), None, source) for ident in ids]
        return self._writer.write(pending, idempotency=idempotency) if pending else []


def find_collection(index: VectorIndex, name: str) -> Collection:
    """Return a declared collection, or raise `UnknownName`."""
    check_name("the collection", name)
    found = index.collection(name)
    if found is None:
        known = [collection.name for collection in index.collections()]
        raise UnknownName(
            f"no collection is named {name!r}{nearest(name, known)}; declare it with k.collection({name!r}, dim=…)"
        )
    return found


def _as_ids(ids: Sequence[str]) -> list[str]:
    if isinstance(ids, str):
        raise InvalidValue(f"ids must be a list of strings, not the string {ids!r}; write [{ids!r}]")
    checked = [check_name("the vector id", ident) for ident in ids]
    if len(set(checked)) != len(checked):
        twice = next(ident for ident in checked if checked.count(ident) > 1)
        raise InvalidVector(f"the id {twice!r} is given twice in one call; keep one of them")
    return checked


def _as_rows(
    matrix: npt.ArrayLike, dim: int, collection: Collection, ids: Sequence[str], *, single: bool = False
) -> Floats:
    try:
        with np.errstate(over="ignore"):  # it becomes an infinity, which is refused below
            rows = np.asarray(matrix, dtype="<f4")
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidVector(f"the vectors are no float32 array ({error}); pass shape (n, {dim})") from None
    if single and rows.ndim == 1:
        rows = rows[None, :]
    if rows.ndim != _MATRIX:
        raise InvalidVector(f"the vectors have shape {rows.shape}, not (n, {dim})")
    if len(rows) != len(ids):
        raise InvalidVector(f"{len(ids)} ids came with {len(rows)} vectors; give one each")
    if rows.shape[1] != dim:
        raise InvalidVector(
            f"{ids[0]!r} has {rows.shape[1]} dimensions, but the embedder that this view sees in "
            f"{collection.name!r} makes {dim}"
        )
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise InvalidVector(f"the vector of {ids[int(np.argmin(finite))]!r} holds NaN or an infinity")
    if collection.metric == "cosine":
        zero = ~rows.any(axis=1)
        if zero.any():
            raise InvalidVector(f"the vector of {ids[int(np.argmax(zero))]!r} is zero, which has no cosine")
    return np.ascontiguousarray(rows)
