"""Which version of a document a vector was computed from, and whether that version is current."""

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
    """Return whether a vector was computed from this version of its document.

    `made_of` is the seq of the version that the vector's turn had read, or None: then their order decides.
    """
    if vector is None or vector.deleted:
        return False
    if made_of is not None:
        return made_of == document.seq
    return (vector.rank, vector.seq) > (document.rank, document.seq)


def rank_below(document: Head, vector: Head | None) -> int | None:
    """Return the rank of a backfilled vector: that of its document, below all later vectors.

    None where it must take the newest rank: the present vector is newer than the document.
    """
    return document.rank if vector is None or vector.rank < document.rank else None
