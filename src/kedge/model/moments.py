"""Search for the seq of a moment."""

from collections.abc import Callable


def seq_at(moment: float, last: int, time_of: Callable[[int], float]) -> int:
    """Return the greatest seq up to the last one that is not later than a moment (seconds since the Unix epoch).

    Times of concurrent writes may be out of order. So the search goes up from 0 in steps of fixed sizes: later writes
    do not change its result.
    """
    found = 0
    for bit in reversed(range(last.bit_length())):
        further = found + (1 << bit)
        if further <= last and time_of(further) <= moment:
            found = further
    return found
