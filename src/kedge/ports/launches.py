"""Launches port: the state of each launch, the lease of its pilot, and what people asked of it."""

from typing import Protocol

from kedge.model.control_log import NewEntry
from kedge.model.launches import Advance, StoredLaunch, StoredRequest


class Launches(Protocol):
    """The launches of one database.

    Laws: at any time one holder at most has the lease of a launch; times are the database's. `advance` is a
    compare-and-set on the version and the holder, and its entry of the log is there exactly if it was done: a holder
    that lost the lease to another changes nothing. Requests of a launch are numbered from 1 without gaps.
    """

    def now(self) -> float:
        """Return the database's time, in seconds since the Unix epoch."""

    def begin(self, launch: StoredLaunch, entry: NewEntry) -> bool:
        """Record a launch and an entry of the log; return False, and do nothing, where one of this name exists."""

    def get(self, name: str) -> StoredLaunch | None:
        """Return a launch, or None."""

    def all(self) -> list[StoredLaunch]:
        """Return all launches, the newest first."""

    def blocking(self) -> list[str]:
        """Return the names of the launches for which promotions wait, in order of name."""

    def acquire(self, name: str, holder: str, host: str, seconds: float) -> StoredLaunch | None:
        """Take or renew the lease, unless another one holds it; return the launch as it stands then.

        None where there is no such launch.
        """

    def release(self, name: str, holder: str) -> None:
        """Give the lease back."""

    def advance(self, name: str, holder: str, version: int, to: Advance, entry: NewEntry) -> None:
        """Store the version after `version`, and an entry of the log; raise `PilotLost` for another holder."""

    def mark_done(self, name: str, holder: str, version: int, trouble: str = "") -> None:
        """Record that the actions of a version are done, or why one was not; raise `PilotLost` for another holder."""

    def ask(self, name: str, body: bytes, entry: NewEntry) -> int:
        """Record what a person asks, and an entry of the log; return its number."""

    def requests(self, name: str, after: int) -> list[StoredRequest]:
        """Return the requests of a launch after one, in order."""

    def unblock(self, entry: NewEntry) -> list[str]:
        """Let promotions go on, and record an entry of the log where they did wait; return for which launches."""
