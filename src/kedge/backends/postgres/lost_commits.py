"""Detection of commits lost in a failover: each new connection is checked against this process's caches.

A server that lost commits assigns their epochs and ids again, to other things: caches that hold the lost ones would
be wrong. PostgreSQL loses the newest commits first, so it is enough to check the newest entry of each cache.
"""

from collections.abc import Callable

from kedge.backends.postgres.link import Connection, Link
from kedge.errors import Corruption, Unreachable

Missing = Callable[[Link], str | None]


class LostCommits:
    """The checks of all caches of one open database."""

    def __init__(self) -> None:
        self._caches: list[Missing] = []
        self._lost: str | None = None

    @property
    def is_lost(self) -> bool:
        """Whether the primary has lost commits that this process has seen: no connection may be used any more."""
        return self._lost is not None

    def add(self, missing: Missing) -> None:
        """Add a check of one cache: it returns what the server has lost, or None."""
        self._caches.append(missing)

    def check(self, connection: Connection, where: str, *, is_primary: bool) -> None:
        """Raise `Corruption`, from now on always, where the primary has lost what this process has seen.

        A standby may only lag behind: that is `Unreachable`.
        """
        link = Link(connection)
        for missing in self._caches:
            lost = self._lost or missing(link)
            if lost is not None:
                self.give_up(lost, where, is_primary=is_primary)

    def give_up(self, lost: str, where: str, *, is_primary: bool) -> None:
        """Raise for something lost; see `check`."""
        if not is_primary:
            raise Unreachable(f"{where}: this server does not have {lost}: it lags behind, or lost it; try again")
        self._lost = lost
        raise Corruption(
            f"{where}: the server does not have {lost}, which this process has read there. A failover or a restore "
            "lost acknowledged commits: find out which, then reopen the database"
        )
