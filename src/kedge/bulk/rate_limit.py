"""Rate limiter (rows per second)."""

import time
from collections.abc import Callable

from kedge.errors import InvalidValue
from kedge.model.numbers import as_real


class RateLimit:
    """Delays its caller, so that from the first call on the rows never exceed the rate. Unused rate is not saved up."""

    def __init__(
        self,
        rows_per_second: float | None,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        given = as_real(rows_per_second)
        if rows_per_second is not None and not (given is not None and given > 0):
            raise InvalidValue(
                f"invalid rate={rows_per_second!r}: must be a positive number of rows per second, or None"
            )
        self._rate = given
        self._now = now
        self.sleep = sleep
        self._free_at: float | None = None

    def wait(self, rows: int) -> None:
        """Wait until these rows may pass: for as long as the rows before them take at the rate."""
        if self._rate is None:
            return
        now = self._now()
        free_at = now if self._free_at is None else max(self._free_at, now)
        if free_at > now:
            self.sleep(free_at - now)
        self._free_at = free_at + rows / self._rate
