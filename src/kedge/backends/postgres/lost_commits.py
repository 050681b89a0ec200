"""What this process remembers of a database, asked of each new connection: a failover may lead to one that lost it.

Epochs and ids that a server lost are given again, to something else: a cache that outlived them would decide by what
never was. PostgreSQL loses the newest of what it had, so whoever still finds what it remembers may go on.
"""

from collections.abc import Callable

from kedge.backends.postgres.link import Connection, Link
from kedge.errors import Corruption, Unreachable

Missing = Callable[[Link], str | None]


class LostCommits:
    """The caches of one open database."""

    def __init__(self) -> None:
        self._caches: list[Missing] = []
        self._lost: str | None = None

    @property
    def is_lost(self) -> bool:
        """Whether the primary was found not to know what this process does: no connection is to be gone on with."""
        return self._lost is not None

    def add(self, missing: Missing) -> None:
        """Ask this of each new connection: what was remembered, and is not there; None where all is."""
        self._caches.append(missing)

    def check(self, connection: Connection, where: str, *, is_primary: bool) -> None:
        """Raise `Corruption`, now and ever after, where the primary does not know what this process does.

        Another standby may only be behind: that is `Unreachable`.
        """
        link = Link(connection)
        for missing in self._caches:
            lost = self._lost or missing(link)
            if lost is not None:
                self.give_up(lost, where, is_primary=is_primary)

    def give_up(self, lost: str, where: str, *, is_primary: bool) -> None:
        """Raise for what was remembered and is not there; see `check`."""
        if not is_primary:
            raise Unreachable(f"{where}: this server does not know {lost}; it lags behind, or lost it: try again")
        self._lost = lost
        raise Corruption(
            f"{where}: the server does not know {lost}, which this process had read there. It was failed over to "
            "another, or restored, and lost what had been acknowledged: find out what, then open the database anew"
        )
