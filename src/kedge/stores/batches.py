"""Vector rows as arrays: those of given ids, or a whole collection in batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from kedge.errors import InvalidValue, PastUnreadable, Retryable, RolledBack
from kedge.model.filters import check_filter, matches
from kedge.model.lineage import union
from kedge.model.numbers import as_integer
from kedge.model.reads import RangeRead
from kedge.model.retention import content_of, value_of
from kedge.model.visibility import View
from kedge.model.writes import Head, decode, to_json
from kedge.ports.vectors import Collection, Floats, Ints, SpaceHeads
from kedge.stores.scope import Scope
from kedge.stores.spaces import EmbeddingSpace, space_of
from kedge.support.display import Value, brief
from kedge.support.optional import require

BATCH_ROWS = 10_000
H = TypeVar("H")
T = TypeVar("T")


class VectorRows(Value, frozen=True, eq=False):
    """Rows of one embedding space as parallel arrays: `vectors` is float32 of shape (n, dim), read-only.

    `vectors` may be a view of a mapped file: copy what you keep, since a purge overwrites the rows that it erases.
    """

    ids: list[str]
    vectors: Floats
    payloads: list[Any]
    seqs: Ints

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.ids)

    def to_arrow(self) -> Any:
        """Return a `pyarrow.Table`: `id`, `vector` (fixed-size lists, not copied), `payload` (as JSON) and `seq`."""
        arrow = require("pyarrow", "arrow")
        values = arrow.array(np.ascontiguousarray(self.vectors).reshape(-1))
        vectors = arrow.FixedSizeListArray.from_arrays(values, self.vectors.shape[1])
        payloads = [as_json(ident, payload) for ident, payload in zip(self.ids, self.payloads, strict=True)]
        columns = [
            arrow.array(self.ids, arrow.string()),
            vectors,
            arrow.array(payloads, arrow.string()),
            arrow.array(self.seqs),
        ]
        return arrow.table(columns, names=["id", "vector", "payload", "seq"])


def as_json(ident: str, payload: Any) -> bytes:
    """Return a payload as JSON, or raise `InvalidValue` for bytes."""
    if isinstance(payload, bytes):
        raise InvalidValue(
            f"the payload of {ident!r} is {len(payload):,} bytes, which JSON cannot hold; use the arrays"
        )
    return to_json(payload)


class VectorBatches:
    """The rows of a collection in one embedding space, as of one instant: iterate for `VectorRows`.

    `rows`: how many were head then; they come `size` at a time. `unembedded`: how many keys were present in other
    spaces only. Later writes are not included. If a rollback has hidden some of the rows since, the iteration raises
    `RolledBack`.
    """

    def __init__(self, scope: Scope, collection: Collection, size: int, where: Mapping[str, Any] | None) -> None:
        self.size = as_integer("size", size, "1 or more rows", least=1)
        self._where = None if where is None else check_filter(where)
        self._scope = scope
        self._collection = collection
        self._space, found, view = self._scope.read(self._resolve)
        scope.record_read(self._space.read)
        scope.record_range(RangeRead("vectors", collection.name, "", found.at_seq), found.lineages)
        self._seqs = found.seqs
        embedder = (head.lineage for head in self._space.read)
        self._decided_by = union((*found.lineages, *embedder)) - view.settled
        self.rows = len(found.seqs)
        self.unembedded = found.unembedded

    def _resolve(self, view: View) -> tuple[EmbeddingSpace, SpaceHeads, View]:
        space = space_of(self._scope, view, self._collection)
        return space, self._scope.backend.vectors.space_heads(view, self._collection, space.digest), view

    def __repr__(self) -> str:
        """Return one line."""
        return f"<VectorBatches of {brief(self._collection.name)}: {self.rows} rows, {self.size} at a time>"

    @property
    def dim(self) -> int:
        """The number of dimensions of the vectors."""
        return self._space.dim

    def __iter__(self) -> Iterator[VectorRows]:
        """Return the rows in the order in which they were written; empty batches are left out."""
        return (rows for rows in self._each() if rows.ids)

    def _each(self) -> Iterator[VectorRows]:
        for first in range(0, self.rows, self.size):
            yield self._batch(self._seqs[first : first + self.size])

    def _batch(self, seqs: Ints) -> VectorRows:
        contents = self._scope.read(lambda view: self._contents(view, seqs))
        names, payloads = (
            [name for name, _ in contents],
            [
                decode(content_of(payload, name, seq))
                for (name, payload), seq in zip(contents, seqs.tolist(), strict=True)
            ],
        )
        if self._where is not None:
            passing = [place for place, payload in enumerate(payloads) if matches(payload, self._where)]
            names, payloads = [names[place] for place in passing], [payloads[place] for place in passing]
            seqs = seqs[passing]
        there, vectors = self._scope.backend.vectors.matrix(self._collection, self._space.digest, seqs)
        if len(there) < len(seqs):
            raise Retryable(
                f"rows of {self._collection.name!r} were compacted away during this iteration; call batches() again"
            )
        return VectorRows(names, vectors, payloads, seqs)

    def _contents(self, view: View, seqs: Ints) -> list[tuple[str, bytes | None]]:
        """Return names and payloads; raise `RolledBack` if a deployment that decided the rows is hidden now."""
        gone = self._decided_by - view.seen - view.settled
        if gone:
            names = tuple(sorted(self._scope.names(gone)))
            raise RolledBack(
                f"{', '.join(map(repr, names))} was rolled back while {self._collection.name!r} was read in batches; "
                "drop the results and call batches() again",
                names,
            )
        return self._scope.backend.journal.contents(view, seqs.tolist())


def each_batch(batches: VectorBatches) -> Iterator[VectorRows]:
    """Return one `VectorRows` for each `size` rows, also where the filter passes none: for progress reports."""
    return batches._each()  # noqa: SLF001 - not part of the public iterator


def retry_if_compacted(look: Callable[[], H], take: Callable[[H], T]) -> tuple[H, T]:
    """Return `look()` and `take()` of it; repeat both if a compaction came between them."""
    before: H | None = None
    while True:
        found = look()
        try:
            return found, take(found)
        except PastUnreadable:
            if found == before:
                raise
            before = found


def fetch(scope: Scope, collection: Collection, ids: Sequence[str]) -> VectorRows:
    """Return the rows of these ids, in this order: those present in the space of the view's embedder."""
    index, journal = scope.backend.vectors, scope.backend.journal

    def look(view: View) -> tuple[EmbeddingSpace, dict[str, Head]]:
        return space_of(scope, view, collection), journal.heads(view, "vectors", collection.name, ids)

    def take(found: tuple[EmbeddingSpace, dict[str, Head]]) -> tuple[list[Head], Floats]:
        space, heads = found
        present = [heads[ident] for ident in ids if ident in heads and not heads[ident].deleted]
        there, vectors = index.matrix(collection, space.digest, np.array([head.seq for head in present], np.int64))
        kept = [present[place] for place in there.tolist()]
        seqs = {head.seq for head in kept}
        index.vectors([head for head in present if head.seq not in seqs])  # of other spaces, or it raises
        return kept, vectors

    (space, heads), (kept, vectors) = retry_if_compacted(lambda: scope.read(look), take)
    scope.record_read((*space.read, *heads.values()))
    if not kept:
        vectors = np.empty((0, space.dim), np.float32)
    seqs = np.array([head.seq for head in kept], np.int64)
    return VectorRows([head.key.name for head in kept], vectors, [value_of(head) for head in kept], seqs)
