"""Compaction in the background: a look now and then, by whichever process works with the vectors."""

import threading
import time
from contextlib import suppress

from kedge.backends.sqlite.compaction import Compactor
from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.sql import queries
from kedge.errors import KedgeError

_SQL = queries("compaction")
LOOK_SECONDS = 10.0  # between two looks, while there is work at all
SHARE = 0.3  # of a segment's rows that must be able to go
ROWS_MIN = 10_000  # of smaller segments nothing is gained
_REST = 30.0  # how many times as long as a vain decision took, until the next one about that segment


class Upkeep:
    """Decides when a segment is packed."""

    def __init__(self, database: Database, compactor: Compactor) -> None:
        self._database = database
        self.compactor = compactor
        self._next = time.monotonic() + LOOK_SECONDS
        self._resting: dict[int, float] = {}
        self._thread: threading.Thread | None = None

    def consider(self) -> None:
        """Have a look taken in the background when it is time; costs no query."""
        now = time.monotonic()
        if now < self._next or self._database.read_only or (self._thread is not None and self._thread.is_alive()):
            return
        self._next = now + LOOK_SECONDS
        self._thread = threading.Thread(target=self._look_quietly, name="kedge-compaction", daemon=True)
        self._thread.start()

    def _look_quietly(self) -> None:
        with suppress(KedgeError):  # nothing is lost; the next look tries again, and `kedge optimize` says what fails
            self.look()

    def look(self) -> None:
        """Pack the segments of which much can go, as far as the log of what was superseded lets one hope."""
        with self._database.connection() as connection:
            found = connection.execute(_SQL["large"], (ROWS_MIN,)).fetchall()
        for segment, rows, cleared in found:
            with self._database.connection() as connection:
                superseded = connection.execute(_SQL["log_length"], (segment,)).fetchone()[0]
            now = time.monotonic()
            if cleared and (superseded <= SHARE * rows or now < self._resting.get(segment, 0.0)):
                continue
            reclaimed = self.compactor.compact(segment, share=SHARE, wait=False)
            if not reclaimed.rows:
                self._resting[segment] = time.monotonic() + max(LOOK_SECONDS, _REST * (time.monotonic() - now))
