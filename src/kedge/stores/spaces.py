"""Embedding spaces: the one that a view sees in a collection, and checks of vectors for it."""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from kedge.errors import InvalidVector, UnknownName, nearest
from kedge.model.artifact_reads import ABSENT
from kedge.model.artifacts import dimension_of, unpack
from kedge.model.checks import check_name
from kedge.model.visibility import View
from kedge.model.writes import Head, Key
from kedge.ports.vectors import Collection, Floats, VectorReader
from kedge.stores.scope import Scope

_MATRIX = 2  # dimensions of an array


class EmbeddingSpace(msgspec.Struct, frozen=True):
    """The embedding space that a view sees in a collection, and the head of the embedder that decides it."""

    digest: str
    dim: int
    head: Head | None

    @property
    def read(self) -> tuple[Head, ...]:
        """The writes that were read to find it: the embedder's head, if there is one."""
        return () if self.head is None else (self.head,)


def space_of(scope: Scope, view: View, collection: Collection) -> EmbeddingSpace:
    """Return the embedding space of a collection; without an embedder, the collection is a space of its own."""
    head = scope.backend.journal.head(view, Key("artifacts", "", collection.embedder))
    scope.record_pin(collection.embedder, ABSENT if head is None else head.seq)
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
    """Return vectors as float32 of shape (n, dim), or raise `InvalidVector` that names the first invalid one."""
    try:
        with np.errstate(over="ignore"):  # an overflow becomes an infinity, which is refused below
            rows = np.asarray(matrix, dtype="<f4")
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidVector(f"invalid vectors ({error}): must be a float32 array of shape (n, {dim})") from None
    if single and rows.ndim == 1:
        rows = rows[None, :]
    if rows.ndim != _MATRIX:
        raise InvalidVector(f"invalid vectors of shape {rows.shape}: must be (n, {dim})")
    if len(rows) != len(ids):
        raise InvalidVector(f"got {len(ids)} ids and {len(rows)} vectors; pass one vector for each id")
    if rows.shape[1] != dim:
        raise InvalidVector(
            f"{ids[0]!r} has {rows.shape[1]} dimensions, but the embedder that this view pins for "
            f"{collection.name!r} has {dim}; embed it with that embedder"
        )
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise InvalidVector(f"the vector of {ids[int(np.argmin(finite))]!r} holds NaN or an infinity; leave it out")
    if collection.metric == "cosine":
        zero = ~rows.any(axis=1)
        if zero.any():
            raise InvalidVector(f"the vector of {ids[int(np.argmax(zero))]!r} is zero and has no cosine; leave it out")
    return np.ascontiguousarray(rows)
