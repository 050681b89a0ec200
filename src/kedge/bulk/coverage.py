"""Embedding coverage: documents without a current vector of their own in an embedding space."""

from collections.abc import Sequence

import msgspec

from kedge.model.artifacts import unpack
from kedge.model.embedding import is_current
from kedge.model.visibility import View
from kedge.model.writes import Head, Key
from kedge.ports.backend import Backend
from kedge.ports.coverage import Uncovered
from kedge.ports.vectors import Collection
from kedge.turns.kernel import Kernel

DOCUMENTS, PAYLOADS = "documents", "payloads"
CORPORA = (DOCUMENTS, PAYLOADS)
_CHUNK = 1000


class Lack(msgspec.Struct, frozen=True):
    """An item without a current vector in an embedding space, and the vector at its id, if there is one.

    `searchable`: that vector is in the space, but was computed from an older version.
    """

    document: Head
    vector: Head | None
    searchable: bool = False


class Corpus(msgspec.Struct, frozen=True):
    """What to embed: the documents of a collection, or the payloads of its vectors."""

    collection: Collection
    kind: str

    @property
    def store(self) -> str:
        """The store that holds the names of the corpus."""
        return "documents" if self.kind == DOCUMENTS else "vectors"

    def lacking(self, backend: Backend, view: View, space: str, names: Sequence[str]) -> list[Lack]:
        """Return those of these ids that are present and have no current vector in an embedding space."""
        name = self.collection.name
        vectors = {n: h for n, h in backend.journal.heads(view, "vectors", name, names).items() if not h.deleted}
        if self.kind == PAYLOADS:
            spaces = backend.coverage.embedding_spaces(vectors.values())
            return [Lack(head, head) for head in vectors.values() if spaces.get(head.seq) != space]
        documents = backend.journal.heads(view, "documents", name, names)
        pairs = [(head, vectors.get(n)) for n, head in documents.items() if not head.deleted]
        embedded = [vector for _, vector in pairs if vector is not None]
        spaces = backend.coverage.embedding_spaces(embedded)
        inside = {vector.seq for vector in embedded if spaces.get(vector.seq) == space}
        made_of = backend.coverage.embedded_versions(name, [vector for vector in embedded if vector.seq in inside])
        return [
            Lack(document, vector, vector is not None and vector.seq in inside)
            for document, vector in pairs
            if vector is None
            or vector.seq not in inside
            or not is_current(document, vector, made_of=made_of.get(vector.seq))
        ]


def uncovered(kernel: Kernel, view: View, lineages: Sequence[int]) -> list[tuple[Collection, Uncovered]]:
    """Return the documents that have vectors of these lineages and no current vector that a view finds."""
    found = []
    for collection in kernel.backend.vectors.collections():
        space = _space(kernel.backend, view, collection)
        foreign = _has_foreign_rows(kernel, view, collection, space)
        rows = kernel.backend.coverage.uncovered(view, lineages, collection.name, include_covered=foreign)
        if foreign:
            rows = _without_own(kernel.backend, view, collection, space, rows)
        found += [(collection, row) for row in rows]
    return found


def _space(backend: Backend, view: View, collection: Collection) -> str:
    key = Key("artifacts", "", collection.embedder)
    ((_, head),) = backend.impact.head_pairs(view, view, [key])
    return "" if head is None or head.deleted else unpack(head.payload).digest


def _has_foreign_rows(kernel: Kernel, view: View, collection: Collection, space: str) -> bool:
    """Return whether a view may see vectors of a collection outside its embedder's space.

    A row carries the lineage of the embedder that its turn saw. A view that sees none of an embedder's deployments
    sees none of its rows.
    """
    others = {""} if space else set[str]()
    for recorded in kernel.backend.control.recorded():
        artifact = recorded.release.artifacts.get(collection.embedder)
        if artifact is not None and view.sees(frozenset({recorded.release.number})):
            others.add(artifact.digest)
    return any(kernel.backend.vectors.dim(collection.name, other) is not None for other in others - {space})


def _without_own(
    backend: Backend, view: View, collection: Collection, space: str, rows: list[Uncovered]
) -> list[Uncovered]:
    corpus = Corpus(collection, DOCUMENTS)
    kept = []
    for first in range(0, len(rows), _CHUNK):
        chunk = rows[first : first + _CHUNK]
        lacks = corpus.lacking(backend, view, space, [row.name for row in chunk])
        by_name = {lack.document.key.name: lack for lack in lacks}
        for row in chunk:
            lack = by_name.get(row.name)
            if lack is not None:
                kept.append(row if lack.searchable else msgspec.structs.replace(row, covering=0))
    return kept
