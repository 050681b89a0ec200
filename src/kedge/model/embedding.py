"""Versions of documents and their vectors: which vector was computed from which version."""

from collections.abc import Iterable, Mapping

from kedge.model.writes import Head

BatchId = tuple[int, int | None]  # the turn, and the seq before which its reads were journaled; None: no reads


def versions_read(
    vectors: Mapping[str, int],
    versions: Iterable[tuple[str, int]],
    batches: Mapping[int, BatchId],
    reads: Mapping[BatchId, frozenset[int]],
) -> dict[int, int]:
    """Return, by the seq of each vector, the seq of the newest version of its document that its batch had read.

    `vectors` holds seqs by name, `versions` all writes (name, seq) of the documents, `batches` the batch that wrote
    each vector, `reads` the seqs that each batch had read. Vectors whose batch had read no version are left out.
    """
    seqs_of: dict[str, list[int]] = {}
    for name, seq in versions:
        seqs_of.setdefault(name, []).append(seq)
    found = {}
    for name, vector in vectors.items():
        used = reads[batches[vector]].intersection(seqs_of.get(name, ()))
        if used:
            found[vector] = max(used)
    return found


def is_current(document: Head, vector: Head | None, *, made_of: int | None) -> bool:
    """Say whether a vector was made of this version of its document.

    `made_of` is the seq of the version that the vector's turn had read, where it had read one; else order decides.
    """
    if vector is None or vector.deleted:
        return False
    if made_of is not None:
        return made_of == document.seq
    return (vector.rank, vector.seq) > (document.rank, document.seq)


def rank_below(document: Head, vector: Head | None) -> int | None:
    """Return the rank at which a vector stands for its document and yet below what was made of it since.

    None where only the newest rank would do: the vector there now is newer than the document.
    """
    return document.rank if vector is None or vector.rank < document.rank else None
