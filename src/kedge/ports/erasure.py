"""Erasure: removing the content of purged lineages for good."""

from collections.abc import Callable, Iterable
from typing import Protocol


class Erasure(Protocol):
    """The second half of a purge. The caller has purged the deployments, so appends with these lineages are refused.

    Laws:

    - Idempotent and resumable: `erase` commits in parts. After a crash at any point, the same call finishes the work.
    - When it returns, payloads, salts, vectors, heads, cached results and metric samples of these lineages are gone.
      Dead copies that only the storage engine can reach go with its next checkpoint or vacuum, requested at the end.
    - What stays: one row a write with its seq, key and digest, and the counters. Other lineages are untouched.
    - Writers wait at most for one part.
    """

    def check_room(self, lineages: Iterable[int]) -> None:
        """Raise `StorageFull` where it is known that `erase` would find no room; the caller has purged nothing yet."""

    def erase(self, lineages: Iterable[int], progress: Callable[[int, int], None] | None = None) -> int:
        """Remove the content of all writes of these lineages; return how many writes this call erased.

        `progress` is called with (last seq done, last seq) after each part.
        """
