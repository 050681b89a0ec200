"""Background compaction: any process that uses vectors checks from time to time whether a segment is due."""

import threading
import time
from contextlib import suppress

from kedge.backends.sqlite.compaction import Compactor
from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.sql import queries
from kedge.errors import KedgeError

_SQL = queries("compaction")
LOOK_SECONDS = 10.0  # between two checks
SHARE = 0.3  # of a segment's rows: fewer are not worth a rewrite
ROWS_MIN = 10_000  # smaller segments gain nothing
_REST = 30.0  # pause before a segment is checked again, as a multiple of the time that a check in vain took


class Upkeep:
    """Decides when a segment is compacted."""

    def __init__(self, database: Database, compactor: Compactor) -> None:
        self._database = database
        self.compactor = compactor
        self._next = time.monotonic() + LOOK_SECONDS
        self._resting: dict[int, float] = {}
        self._thread: threading.Thread | None = None

    def consider(self) -> None:
        """Start a check in the background when it is due. Runs no query itself."""
        now = time.monotonic()
        if now < self._next or self._database.read_only or (self._thread is not None and self._thread.is_alive()):
            return
        self._next = now + LOOK_SECONDS
        self._thread = threading.Thread(target=self._check_ignoring_errors, name="kedge-compaction", daemon=True)
        self._thread.start()

    def _check_ignoring_errors(self) -> None:
        with suppress(
            KedgeError
        ):  # nothing is lost: the next check tries again, and `kedge optimize` reports the error
            self.check()

    def check(self) -> None:
        """Compact the segments with many superseded rows, as far as the log of superseding writes promises a gain."""
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
