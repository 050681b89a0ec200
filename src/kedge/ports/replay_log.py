"""Replay log: which source inputs were replayed, and up to which hidden turn."""

from collections.abc import Iterable
from typing import Protocol


class ReplayLog(Protocol):
    """The record that keeps an input from being replayed twice.

    Laws:

    - `mark_replayed` is durable when it returns, and idempotent: a retry changes nothing.
    - Monotonic: marks may come in any order and from several processes. The greatest turn stays.
    - Exclusive: of concurrent `claim`s of an input from one holder, one returns True. A mark ends a claim.
    - A mark that returned is seen by every later `replayed_upto`, in any process.
    """

    def replayed_upto(self, seqs: Iterable[int]) -> dict[int, int]:
        """Return, by input, the greatest turn that its replays replaced; inputs never replayed are left out."""

    def holder(self, seq: int) -> str | None:
        """Return the text of the last claim or mark of an input; empty where a claim was released, None without any."""

    def claim(self, seq: int, before: str | None, claim: str) -> bool:
        """Replace the text `before` by that of a claim; return whether the claim is the holder now. A retry is safe."""

    def release(self, seq: int, claim: str) -> None:
        """Remove the text of a claim where it is still there. Marks stay."""

    def mark_replayed(self, seq: int, turn: int, uid: str) -> None:
        """Record that the turn `uid` replayed the input at `seq` in place of its hidden turns up to `turn`."""

    def forget_refused(self, uids: Iterable[str]) -> None:
        """Forget that derived writes were refused to these turns: their inputs were answered since."""
