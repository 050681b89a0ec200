"""Vector search in one collection, or in several of one metric and one embedder."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from kedge.errors import InvalidValue, Misuse
from kedge.model.filters import check_filter
from kedge.model.numbers import as_integer
from kedge.model.reads import RangeRead
from kedge.model.retention import value_of
from kedge.model.scores import rounded
from kedge.model.visibility import View
from kedge.ports.vectors import Collection, Found, Search
from kedge.stores.scope import Scope
from kedge.stores.spaces import EmbeddingSpace, as_rows, find_collection, space_of
from kedge.support.display import Value, brief

_SHOWN = 2  # hits in the repr of a result

_HITS_MAX = 2**31 - 1  # more than any collection holds


class Hit(Value, frozen=True):
    """One row that a search found. A greater `score` is better; `lineage` holds deployment names."""

    id: str
    score: float
    payload: Any
    seq: int
    lineage: frozenset[str]
    collection: str


class _Count:
    """What counting the unembedded keys reads. A copy in another process could not add it to the turn's lineage."""

    def __init__(self, record: Callable[[], None] | None = None) -> None:
        self._record = record

    def __call__(self) -> None:
        if self._record is None:
            raise Misuse(
                "these hits are a copy from a pickle, which cannot add to the lineage of the turn that searched; call "
                "count_unembedded() before you send them"
            )
        self._record()

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[type["_Count"], tuple[()]]:
        return _Count, ()


class Hits(list[Hit]):
    """The hits of one search, best first. `exact` says whether every row was compared.

    They can be pickled; the copy does not count unembedded keys.
    """

    def __init__(
        self,
        hits: Iterable[Hit] = (),
        *,
        exact: bool = True,
        unembedded: int = 0,
        on_count: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(hits)
        self.exact = exact
        self._unembedded = unembedded
        self._on_count = on_count

    def __repr__(self) -> str:
        """Return one line: how many hits, and the best."""
        best = ", ".join(f"{brief(hit.id)} {hit.score:.3g}" for hit in self[:_SHOWN])
        more = ", …" if len(self) > _SHOWN else ""
        return f"<Hits {len(self)}: {best}{more}>" if self else "<Hits 0>"

    def count_unembedded(self) -> int:
        """Return how many keys are present in other embedding spaces only: a read of the whole collection."""
        if self._on_count is not None:
            self._on_count()
        return self._unembedded

    @property
    def unembedded(self) -> int:
        """Deprecated: `count_unembedded()`, since it adds to the turn's lineage, as no property should."""
        warnings.warn("Hits.unembedded is deprecated; call hits.count_unembedded()", DeprecationWarning, stacklevel=2)
        return self.count_unembedded()


class SearchingMany:
    """A turn or a view, as far as it searches several collections at once."""

    _scope: Scope

    def search(
        self,
        collections: Sequence[str],
        vector: npt.ArrayLike,
        k: int = 10,
        where: Mapping[str, Any] | None = None,
        *,
        exact: bool = False,
    ) -> Hits:
        """Return the `k` best hits for a query vector over several collections of one metric and one embedder.

        The other arguments are those of `vectors(collection).search`.
        """
        if isinstance(collections, str) or not collections:
            raise InvalidValue(f"invalid collections {collections!r}: must be a list of names, such as ['kb', 'wiki']")
        found = [find_collection(self._scope.backend.vectors, name) for name in collections]
        if len(set(collections)) != len(found):
            raise InvalidValue(f"invalid collections {list(collections)!r}: a name occurs twice; keep one of them")
        return search(self._scope, found, vector, k, where, exact=exact)


def search(
    scope: Scope,
    collections: Sequence[Collection],
    vector: Any,
    k: int,
    where: Mapping[str, Any] | None,
    *,
    exact: bool,
) -> Hits:
    """Return the `k` best hits for one query vector, all of one epoch."""
    k = min(as_integer("k", k, "1 or more hits", least=1), _HITS_MAX)
    where = None if where is None else check_filter(where)
    _check_one_metric(collections)
    spaces: list[EmbeddingSpace] = []

    def look(view: View) -> list[Search]:
        # At one epoch: else a commit between the two would search the old space for rows of the new one.
        spaces[:] = [space_of(scope, view, collection) for collection in collections]
        _check_one_space(collections, spaces)
        found = []
        for collection, space in zip(collections, spaces, strict=True):
            query = as_rows(vector, space.dim, collection, ["the query"], single=True)[0]
            index = scope.backend.vectors
            found.append(index.search(view, collection, space.digest, query, k, where, exact=exact))
        return found

    try:
        results = scope.read(look)
    finally:  # also where the query does not fit the embedder: the embedder was read
        scope.record_read(head for space in spaces for head in space.read)
    return _merged(scope, collections, results, k)


def _merged(scope: Scope, collections: Sequence[Collection], results: Sequence[Search], k: int) -> Hits:
    """Return the best hits; record them, and the writes that superseded other rows, as read."""
    found = [hit for result in results for hit in result.found]
    order = rounded(np.array([hit.score for hit in found], np.float64))
    ranked = sorted(zip(order.tolist(), found, strict=True), key=_by_score_then_place)
    best = [hit for _, hit in ranked[:k]]
    scope.record_read(hit.head for hit in best)
    for result in results:
        scope.record_read(result.superseders)

    def record_count() -> None:
        for collection, result in zip(collections, results, strict=True):
            scope.record_range(RangeRead("vectors", collection.name, "", result.at_seq), result.elsewhere)

    return Hits(
        (
            Hit(
                hit.head.key.name,
                hit.score,
                value_of(hit.head),
                hit.head.seq,
                scope.names(hit.head.lineage),
                hit.head.key.space,
            )
            for hit in best
        ),
        exact=all(result.exact for result in results),
        unembedded=sum(result.unembedded for result in results),
        on_count=_Count(record_count),
    )


def _by_score_then_place(scored: tuple[float, Found]) -> tuple[float, str, str]:
    score, hit = scored
    return -score, hit.head.key.space, hit.head.key.name


def _check_one_metric(collections: Sequence[Collection]) -> None:
    first = collections[0]
    other = next((c for c in collections if c.metric != first.metric), None)
    if other is not None:
        raise InvalidValue(
            f"{first.name!r} has metric {first.metric}, {other.name!r} has {other.metric}: their scores cannot be "
            "merged; search them separately"
        )


def _check_one_space(collections: Sequence[Collection], spaces: Sequence[EmbeddingSpace]) -> None:
    """Raise `InvalidValue` where the collections are in different embedding spaces."""
    place = next((n for n, space in enumerate(spaces) if space.digest != spaces[0].digest), None)
    if place is not None:
        first, other = collections[0], collections[place]
        raise InvalidValue(
            f"{first.name!r} is embedded by {_embedder(first, spaces[0])}, {other.name!r} by "
            f"{_embedder(other, spaces[place])}: one query vector cannot search both; search them separately"
        )


def _embedder(collection: Collection, space: EmbeddingSpace) -> str:
    return f"{space.digest!r} ({collection.embedder!r})" if space.digest else f"none ({collection.embedder!r})"
