"""Embedding spaces: which one a view sees in a collection, and what may be compared there."""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from kedge.errors import InvalidVector, UnknownName, nearest
from kedge.model.artifacts import dimension_of, unpack
from kedge.model.checks import check_name
from kedge.model.visibility import View
from kedge.model.writes import Head, Key
from kedge.ports.vectors import Collection, Floats, VectorReader
from kedge.stores.scope import Scope

_MATRIX = 2  # dimensions of an array


class EmbeddingSpace(msgspec.Struct, frozen=True):
    """The embedding space that a view sees in a collection, and the head of the embedder that says so."""

    digest: str
    dim: int
    head: Head | None

    @property
    def read(self) -> tuple[Head, ...]:
        """The write that was read to know it, if there is one."""
        return () if self.head is None else (self.head,)


def space_of(scope: Scope, view: View, collection: Collection) -> EmbeddingSpace:
    """Return the embedding space of a collection; without an embedder, it has one of its own."""
    head = scope.backend.journal.head(view, Key("artifacts", "", collection.embedder))
    if head is None or head.deleted:
        return EmbeddingSpace("", collection.dim, head)
    artifact = unpack(head.payload)
    return EmbeddingSpace(artifact.digest, dimension_of(artifact, collection.dim), head)


def find_collection(index: VectorReader, name: str) -> Collection:
    """Return a declared collection, or raise `UnknownName`."""
    check_name("the collection", name)
    found = index.collection(name)
    if found is None:
        known = [collection.name for collection in index.collections()]
        raise UnknownName(
            f"no collection is named {name!r}{nearest(name, known)}; declare it with k.collection({name!r}, dim=…)"
        )
    return found


def as_rows(
    matrix: npt.ArrayLike, dim: int, collection: Collection, ids: Sequence[str], *, single: bool = False
) -> Floats:
    """Return vectors as float32 of shape (n, dim), or raise `InvalidVector` that names the one that is wrong."""
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
