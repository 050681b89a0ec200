"""Assignments: the generations of sessions in the order in which they were fixed."""

from collections.abc import Iterable
from typing import Protocol

from kedge.model.control_log import Session
from kedge.model.lineage import Lineage

__all__ = ["Assignments", "Session"]


class Assignments(Protocol):
    """What sessions were fixed to, generation by generation.

    Laws: the cost of a call grows with the generations that it returns, not with those that there are. A generation
    never changes; those of sessions that were forgotten are not there.
    """

    def assigned(self, after: int, upto: int, limit: int) -> list[Session]:
        """Return up to `limit` generations with a seq after one and up to another, in order of seq."""

    def newest(self, upto: int, limit: int) -> list[Session]:
        """Return up to `limit` generations with a seq up to one, the newest first."""

    def generations(self, sessions: Iterable[str]) -> list[Session]:
        """Return all generations of these sessions, in order of seq."""

    def of_units(self, units: Iterable[str], after: int, upto: int) -> list[Session]:
        """Return the generations with one of these as their `unit_id`, in a range of seqs, in order of seq."""

    def carried(self, sessions: Iterable[str]) -> dict[str, Lineage]:
        """Return what the writes in the memory of these sessions carry, those without any left out."""
