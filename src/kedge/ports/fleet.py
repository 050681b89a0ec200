"""The members of a database: who holds a lease, and which epoch each has acknowledged."""

from collections.abc import Iterable
from typing import Protocol

from kedge.model.control import Level
from kedge.model.fleet import Standing


class Fleet(Protocol):
    """The members of one database.

    Laws: `refresh` is atomic, and in one order with every commit of the control record: the epoch that it returns is
    the record's at that instant, and a member that `members` does not show yet after a commit is answered with that
    commit's epoch, or a later one. A member's epoch never goes back, however late a refresh arrives. A refresh that
    acknowledges the epoch which it is answered with ends `expired`; one that acknowledges less does not, and whoever
    joins so is expired. `count_out` touches no member that has acknowledged the epoch. All may be repeated.

    Rows need not survive what ends every process that they speak of, as a power failure of their one machine does.
    """

    def refresh(self, member: Standing) -> int:
        """Record that a member is there, and what it acknowledges and holds; return the control record's epoch."""

    def leave(self, uid: str) -> None:
        """Forget a member: it serves nothing any more, by its own word."""

    def members(self, behind: int | None = None) -> list[Standing]:
        """Return the members in the order in which they joined, or those that have not acknowledged an epoch yet."""

    def count_out(self, uids: Iterable[str], epoch: int) -> None:
        """Record that these members hold no lease, unless they have acknowledged the epoch meanwhile."""


class Membership(Protocol):
    """What a turn asks of the member that its process is, without I/O."""

    def check(self) -> None:
        """Raise `LeaseExpired` unless the lease holds."""

    @property
    def epoch(self) -> int | None:
        """The epoch that this process has caught up with; None where its lease has run out."""

    @property
    def heard(self) -> int:
        """The newest epoch that this process has heard of, whether it has caught up with it or not."""

    @property
    def safe_level(self) -> Level:
        """The level that features stand on here while the lease has run out."""
