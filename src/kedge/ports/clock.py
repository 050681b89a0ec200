"""Clock port: the source of time and fresh ids, which tests replace."""

import os
import time
from typing import Protocol, runtime_checkable

# Linux' CLOCK_MONOTONIC stops during suspend; on other systems it does not.
_COUNTS_THROUGH_SUSPEND = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """Wall time and fresh ids. `now` may step backwards; the times in the journal never do."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""

    def fresh_id(self) -> str:
        """Return a unique id."""


@runtime_checkable
class LeaseClock(Protocol):
    """The clock for leases."""

    def elapsed(self) -> float:
        """Return seconds since a fixed moment: counted through suspend, and never adjusted."""


class SystemClock:
    """The machine's clocks and random names."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        return time.time()

    def fresh_id(self) -> str:
        """Return 32 hexadecimal digits from the system's random source: tests may replace `uuid` and `random`."""
        return os.urandom(16).hex()

    def elapsed(self) -> float:
        """Return seconds since the machine was started."""
        return time.clock_gettime(_COUNTS_THROUGH_SUSPEND)


def lease_clock(clock: Clock) -> LeaseClock:
    """Return a clock for leases: the given one if it has `elapsed`, else the system's."""
    return clock if isinstance(clock, LeaseClock) else SystemClock()
