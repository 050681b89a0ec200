"""Log of acts: effects that permits allowed, journaled before they happen, with the epoch that allowed them."""

import os
from typing import Protocol

from kedge.model.ranges import Span
from kedge.model.stores import ACTS
from kedge.model.visibility import View
from kedge.model.writes import Key, Pending, encode
from kedge.ports.journal import Journal

_DIGITS = 15  # names of acts are in the order of their epochs
LEAKS_MAX = 10_000


class Allowed(Protocol):
    """A permit, as far as the log keeps it."""

    @property
    def epoch(self) -> int:
        """The epoch that allows it."""

    @property
    def tool(self) -> str | None:
        """The tool, or None."""

    @property
    def reversibility(self) -> str | None:
        """The reversibility class, or None where it is not known."""

    @property
    def level(self) -> str:
        """The level."""

    @property
    def approved_by(self) -> str | None:
        """The person who approved it, or None."""


def act_of(permit: Allowed) -> Pending:
    """Return the write that journals an act: a source write, since a rollback does not undo the world."""
    told = {
        "epoch": permit.epoch,
        "tool": permit.tool,
        "reversibility": permit.reversibility,
        "level": str(permit.level),
        "approved_by": permit.approved_by,
    }
    key = Key(ACTS, "", f"{permit.epoch:0{_DIGITS}d}/{os.urandom(8).hex()}")
    return Pending(key, encode(told, "an act"), source=True)


def count_leaks(journal: Journal, view: View, epoch: int, seq: int) -> int:
    """Return how many acts the log has after a seq that are stamped with an epoch before this one."""
    span = Span(high=f"{epoch:0{_DIGITS}d}", reverse=True, limit=LEAKS_MAX)
    return sum(head.seq > seq for head in journal.range(view, ACTS, "", span, payloads=False).heads)
