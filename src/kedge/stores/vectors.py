"""Vector store: the vectors of one collection, with payloads."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy.typing as npt

from kedge.errors import InvalidValue, InvalidVector
from kedge.model.checks import check_name
from kedge.model.choices import OriginName
from kedge.model.filters import check_filter, matches
from kedge.model.ranges import Span
from kedge.model.reads import RangeRead
from kedge.model.retention import value_of
from kedge.model.writes import Head, Key, Origin, Pending, VectorBatch, encode
from kedge.ports.journal import HeadMoved
from kedge.ports.vectors import Collection, Floats
from kedge.stores.batches import BATCH_ROWS, VectorBatches, VectorRows, fetch, retry_if_compacted
from kedge.stores.chunks import Embed, Split, TextWriter
from kedge.stores.keyed import range_read
from kedge.stores.scope import Scope, WritingScope
from kedge.stores.search import Hits, search
from kedge.stores.spaces import EmbeddingSpace, as_rows, find_collection, space_of
from kedge.support.display import Value, brief


class VectorRow(Value, frozen=True):
    """One stored vector, float32 of shape (dim,), with its payload."""

    id: str
    vector: Floats
    payload: Any
    seq: int


class VectorsView:
    """The vectors of one collection, as a view sees them."""

    def __init__(self, scope: Scope, name: str) -> None:
        self._scope = scope
        self._collection = find_collection(scope.backend.vectors, name)

    def __repr__(self) -> str:
        """Return one line."""
        return f"<{type(self).__name__} of {brief(self._collection.name)}>"

    @property
    def collection(self) -> Collection:
        """The declaration: dimension, metric, embedder and fields."""
        return self._collection

    def _embedder(self) -> EmbeddingSpace:
        """Read the head of the collection's embedder; return the embedding space."""
        space = self._scope.read(lambda view: space_of(self._scope, view, self._collection))
        self._scope.record_read(space.read)
        return space

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
        without it, large collections are searched by their index, and `hits.exact` is False.
        """
        return search(self._scope, [self._collection], vector, k, where, exact=exact)

    def get(self, ids: Sequence[str]) -> dict[str, VectorRow]:
        """Return the rows of these ids that are present, in any embedding space."""
        ids = _as_ids(ids)
        self._embedder()
        index, journal, name = self._scope.backend.vectors, self._scope.backend.journal, self._collection.name
        heads, rows = retry_if_compacted(
            lambda: self._scope.read(lambda view: journal.heads(view, "vectors", name, ids)),
            lambda heads: index.vectors([head for head in heads.values() if not head.deleted]),
        )
        self._scope.record_read(heads.values())
        present = [head for head in heads.values() if not head.deleted]
        return {h.key.name: VectorRow(h.key.name, v, value_of(h), h.seq) for h, v in zip(present, rows, strict=True)}

    def fetch(self, ids: Sequence[str]) -> VectorRows:
        """Return the rows of these ids as arrays, in this order: those present in the space of the view's embedder."""
        return fetch(self._scope, self._collection, _as_ids(ids))

    def batches(self, size: int = BATCH_ROWS, where: Mapping[str, Any] | None = None) -> VectorBatches:
        """Return all rows of the space of the view's embedder as arrays, at most `size` at a time, the oldest first.

        The call decides which rows are head; iterate as often as you like. `where` filters payloads as in a search.
        """
        return VectorBatches(self._scope, self._collection, size, where)

    def count(self) -> int:
        """Return how many ids are present, over all embedding spaces."""
        self._embedder()
        name = self._collection.name
        tally = self._scope.read(lambda view: self._scope.backend.vectors.tally(view, name))
        self._scope.record_range(RangeRead("vectors", name, "", tally.at_seq), tally.lineages)
        return tally.count

    def ids(self) -> list[str]:
        """Return the ids that are present, in order."""
        self._embedder()
        return [head.key.name for head in self._range()]

    def _range(self) -> list[Head]:
        name = self._collection.name
        found = self._scope.read(lambda view: self._scope.backend.journal.range(view, "vectors", name, payloads=False))
        lineages = {head.lineage for head in found.heads} | found.tombstones
        self._scope.record_range(RangeRead("vectors", name, "", found.at_seq), lineages)
        return found.heads


class Vectors(VectorsView):
    """The vectors of one collection, for a turn to read and write."""

    _scope: WritingScope

    def __init__(self, scope: WritingScope, name: str) -> None:
        super().__init__(scope, name)

    def upsert(
        self,
        ids: Sequence[str],
        matrix: npt.ArrayLike,
        payloads: Sequence[Any] | None = None,
        *,
        embedder: str | None = None,
        origin: OriginName | None = None,
        idempotency: str | None = None,
    ) -> list[int]:
        """Write vectors, float32 of shape (n, dim), with JSON payloads, as one batch; return their seqs.

        They belong to the embedding space of the embedder that the view pins. `embedder` is the digest of the
        embedder that the caller used; another one than the view's raises `InvalidVector`.
        """
        if isinstance(ids, AbstractSet):
            raise InvalidValue(f"invalid ids {ids!r:.80}: a set has no order to match the vectors; pass a list")
        ids = _as_ids(ids)
        if not ids:
            return []
        space = self._embedder()
        if embedder is not None and embedder != space.digest:
            raise InvalidVector(
                f"{ids[0]!r} was embedded by {embedder!r}, but this turn's view pins {space.digest!r} at "
                f"{self._collection.embedder!r}; embed it with the embedder in turn.artifacts"
            )
        rows = as_rows(matrix, space.dim, self._collection, ids)
        given = [None] * len(ids) if payloads is None else _as_payloads(payloads)
        if len(given) != len(ids):
            raise InvalidVector(f"got {len(ids)} ids and {len(given)} payloads; pass one payload for each id")
        source = self._scope.is_source(origin, Origin.DERIVED)
        pending = [
            Pending(Key("vectors", self._collection.name, ident), encode(payload, f"the payload of {ident!r}"), source)
            for ident, payload in zip(ids, given, strict=True)
        ]
        return self._scope.write(
            pending, idempotency=idempotency, vectors=VectorBatch(space.digest, space.dim, rows.tobytes())
        )

    def put_documents(
        self,
        texts: Mapping[str, str | None],
        embed: Embed,
        *,
        split: Split | None = None,
        payloads: Mapping[str, Mapping[str, Any]] | None = None,
        origin: OriginName | None = None,
        idempotency: str | None = None,
    ) -> list[str]:
        """Write texts by id, with the vectors of their chunks, as one batch; return the ids of those that changed.

        `split(text)` returns the chunks of a text (None: the text is one), `embed(chunks)` their vectors. The chunks of
        `doc` are the rows `doc#000000`, …; their payloads hold `document`, `chunk` and `text`, beside what `payloads`
        has for the id. Only what differs from what is there is embedded and written; chunks that a new version does not
        have are deleted. None deletes a text. The whole texts are the documents of `<collection>/texts`: source writes,
        unless `origin` says otherwise.
        """
        if not isinstance(texts, Mapping):
            raise InvalidValue(f"invalid texts {brief(texts)}: must be a mapping of ids to texts")
        others = {} if payloads is None else payloads
        if not isinstance(others, Mapping) or not all(isinstance(other, Mapping) for other in others.values()):
            raise InvalidValue(f"invalid payloads {brief(payloads)}: must be a mapping of ids to dicts")
        source = self._scope.is_source(origin, Origin.SOURCE)
        while True:
            writer = TextWriter(self._scope, self._collection, self._embedder(), split)
            for ident, text in texts.items():
                writer.add(ident, text, others.get(ident, {}), source=source)
            try:
                return writer.write(embed, idempotency)
            except HeadMoved:  # a concurrent version of a text: its chunks are to go
                continue

    def delete(
        self,
        ids: Sequence[str] | None = None,
        *,
        where: Mapping[str, Any] | None = None,
        origin: OriginName | None = None,
        idempotency: str | None = None,
    ) -> list[int]:
        """Delete these ids, or those whose payloads pass a filter, in any embedding space, as one batch.

        Return the seqs of the deletes. `where` is a filter as in a search; it reads the whole collection.
        """
        if (ids is None) == (where is None):
            raise InvalidValue("give either ids or where= to delete, such as where={'source': 'doc-1'}")
        if where is not None and not check_filter(where):
            raise InvalidValue("where={} would delete every row: name a field, or pass ids, such as vectors.ids()")
        ids = self._passing(check_filter(where)) if ids is None else _as_ids(ids)
        self._embedder()
        source = self._scope.is_source(origin, Origin.DERIVED)
        pending = [Pending(Key("vectors", self._collection.name, ident), None, source) for ident in ids]
        return self._scope.write(pending, idempotency=idempotency)

    def _passing(self, where: Mapping[str, Any]) -> list[str]:
        """Return the ids whose payloads pass a filter; read the whole collection, some rows at a time."""
        name, journal, span = self._collection.name, self._scope.backend.journal, Span(limit=BATCH_ROWS)
        ids: list[str] = []
        while True:
            found = self._scope.read(lambda view, span=span: journal.range(view, "vectors", name, span))  # type: ignore[misc]
            ids += (head.key.name for head in found.heads if matches(value_of(head), where))
            covered = span.covered([head.key.name for head in found.heads])
            lineages = {head.lineage for head in found.heads} | found.tombstones
            self._scope.record_range(range_read(Key("vectors", name, ""), covered, found.at_seq), lineages)
            if covered.high is None:
                return ids
            span = span.after(found.heads[-1].key.name)


def _as_payloads(payloads: Iterable[Any]) -> list[Any]:
    if isinstance(payloads, Mapping):
        raise InvalidValue(
            f"invalid payloads {payloads!r:.80}: must be a list with one value for each id; for one row, write [{{…}}]"
        )
    if isinstance(payloads, str | bytes | AbstractSet) or not isinstance(payloads, Iterable):
        raise InvalidValue(f"invalid payloads {payloads!r:.80}: must be a list with one value for each id")
    return list(payloads)


def _as_ids(ids: Iterable[str]) -> list[str]:
    if isinstance(ids, str):
        raise InvalidValue(f"invalid ids {ids!r}: must be a list of strings; write [{ids!r}]")
    if isinstance(ids, Mapping | bytes) or not isinstance(ids, Iterable):
        raise InvalidValue(f"invalid ids {ids!r:.80}: must be a list of strings")
    checked = [check_name("the vector id", ident) for ident in ids]
    if len(set(checked)) != len(checked):
        twice = Counter(checked).most_common(1)[0][0]
        raise InvalidVector(f"id {twice!r} occurs twice in one call; keep one of them")
    return checked
