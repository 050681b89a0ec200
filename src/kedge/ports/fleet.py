"""Fleet port: the members of a database, their leases, and the epochs that they have acknowledged."""

from collections.abc import Iterable
from typing import Protocol

from kedge.model.control import Level
from kedge.model.fleet import Standing


class Fleet(Protocol):
    """The members of one database.

    Laws: `refresh` is atomic and serialized with every commit of the control record: it returns the record's epoch at
    that point, and a member that `members` does not show yet after a commit gets that commit's epoch, or a later one.
    A member's epoch never decreases, however late a refresh arrives. A refresh that acknowledges the epoch that it
    returns clears `expired`; one that acknowledges less does not, and a member that joins with one is expired.
    `count_out` changes no member that has acknowledged the epoch. All calls may be repeated.

    Rows may be lost in a failure that ends all their processes, such as a power failure of the one machine.
    """

    def refresh(self, member: Standing) -> int:
        """Record a member, and what it acknowledges and holds; return the control record's epoch."""

    def leave(self, uid: str) -> None:
        """Remove a member that has stopped serving."""

    def members(self, behind: int | None = None) -> list[Standing]:
        """Return the members in order of joining, or those that have not acknowledged an epoch yet."""

    def count_out(self, uids: Iterable[str], epoch: int) -> None:
        """Mark members as expired, unless they have acknowledged the epoch meanwhile."""


class Membership(Protocol):
    """The lease of this process, as a turn checks it; without I/O."""

    def check(self) -> None:
        """Raise `LeaseExpired` unless the lease holds."""

    @property
    def epoch(self) -> int | None:
        """The epoch that this process has caught up with; None after its lease has run out."""

    @property
    def heard(self) -> int:
        """The newest epoch that this process has heard of, caught up with or not."""

    @property
    def safe_level(self) -> Level:
        """The level of features in this process after its lease has run out."""
