"""Moments: where in the journal a time lies."""

from collections.abc import Callable


def seq_at(moment: float, last: int, time_of: Callable[[int], float]) -> int:
    """Return the greatest seq up to the last one that is not later than a moment (seconds since the Unix epoch).

    Times of writes that overlapped may be out of order by as much. So the steps are of fixed sizes, and go up from 0:
    what is written later does not lead them elsewhere.
    """
    found = 0
    for bit in reversed(range(last.bit_length())):
        further = found + (1 << bit)
        if further <= last and time_of(further) <= moment:
            found = further
    return found
