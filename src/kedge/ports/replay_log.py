"""Replay log: which source inputs were replayed, and up to which hidden turn."""

from collections.abc import Iterable
from typing import Protocol


class ReplayLog(Protocol):
    """The record that keeps an input from being replayed twice.

    Laws:

    - `mark_replayed` is durable when it returns, and idempotent: a retry changes nothing.
    - Monotonic: marks may come in any order and from several processes. The greatest turn stays.
    - A mark that returned is seen by every later `replayed_upto`, in any process.
    """

    def replayed_upto(self, seqs: Iterable[int]) -> dict[int, int]:
        """Return, by input, the greatest turn that its replays replaced; inputs never replayed are left out."""

    def mark_replayed(self, seq: int, turn: int, uid: str) -> None:
        """Record that the turn `uid` replayed the input at `seq` in place of its hidden turns up to `turn`."""
