"""Whether a vector still stands for its document."""

from kedge.model.writes import Head


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
