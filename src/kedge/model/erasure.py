"""Parts in which the content of purged writes is erased."""

ERASE_SEQS = 20_000  # in one transaction: writers wait for it


def parts(last: int) -> list[tuple[int, int]]:
    """Return the ranges of seqs (both ends inclusive) that cover the journal up to its last seq, in order."""
    return [(first, min(first + ERASE_SEQS - 1, last)) for first in range(0, last + 1, ERASE_SEQS)]
