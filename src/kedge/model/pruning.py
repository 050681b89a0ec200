"""Pruning of recorded reads and of sessions: what was pruned, and what still needs a turn or a session."""

from bisect import bisect_left, bisect_right

import msgspec

from kedge.errors import PastUnreadable
from kedge.model.control import ControlRecord
from kedge.model.lineage import Lineage

SHARE_OF_AGE = 0.05  # in the background, a policy is applied again once so much of its age has passed


class Pruned(msgspec.Struct, frozen=True):
    """What was pruned from a database, as it stores it.

    `reads`: recorded reads from up to this seq may be missing. `sessions`: up to this seq it is not known what
    sessions saw that are not in the table; `entries` is how many of their log entries were deleted. `reads_at` and
    `sessions_at` are the times up to which the policies were applied last.
    """

    reads: int = 0
    sessions: int = 0
    entries: int = 0
    reads_at: float = 0.0
    sessions_at: float = 0.0

    @classmethod
    def decode(cls, stored: bytes | str | None) -> "Pruned":
        """Return it as it is stored; None where nothing was pruned yet."""
        return cls() if stored is None else msgspec.json.decode(stored, type=cls)

    def encode(self) -> bytes:
        """Return it as it is stored."""
        return msgspec.json.encode(self)


class Needed(msgspec.Struct, frozen=True):
    """What keeps turns: lineages that can still be hidden or shown, turns that called such ones, and held spaces.

    `seen`, sets of deployments, keeps the turns themselves: plans count what they wrote without carrying any of these.
    It has -1 where that is so of turns of which it is not known what they saw.
    """

    lineages: tuple[int, ...] = ()
    callers: tuple[int, ...] = ()  # in ascending order
    held: tuple[int, ...] = ()
    seen: tuple[int, ...] = ()

    def within(self, first: int, upto: int) -> "Needed":
        """Return what keeps the turns of a range of ids."""
        start, end = bisect_left(self.callers, first), bisect_right(self.callers, upto)
        return msgspec.structs.replace(self, callers=self.callers[start:end])


class Horizon(msgspec.Struct, frozen=True):
    """A point that a policy keeps everything after: its seq and its time."""

    seq: int
    at: float


def needed_numbers(record: ControlRecord) -> Lineage:
    """Return the deployments whose plans, replays and reinstatements need what their turns had read."""
    return frozenset(record.by_number) | record.peers


def may_forget(record: ControlRecord, base: Lineage) -> bool:
    """Return whether a session fixed to `base` would see at least the same if it began anew, and nothing held back.

    What it has written inside a canary, or inside a deployment that it was opened with, stays visible to it. It may be
    held back from a deployment by its unit, which it alone remembers.
    """
    held_back = any(record.by_number[number].holdback for number in record.live - record.externals - base)
    return not held_back and not (base & needed_numbers(record)) - record.live


def is_due(moment: float, before: float, seconds: float) -> bool:
    """Return whether a policy of `seconds`, applied last up to `before`, is to be applied in the background."""
    return not before <= moment < before + seconds * SHARE_OF_AGE


def check_session_known(session: str, seq: int, pruned: Pruned) -> None:
    """Raise `PastUnreadable` where a session that is not in the table may have been forgotten after a seq."""
    if seq < pruned.sessions:
        raise PastUnreadable(
            f"what session {session!r} saw at seq {seq} is not known: up to seq {pruned.sessions}, the retention "
            "policy of sessions forgot idle ones; read without session=, or at a later point"
        )
