"""Time and names come in through here, so that a test can decide them."""

import secrets
import time
from typing import Protocol, runtime_checkable

# Linux' CLOCK_MONOTONIC stands still during suspend; elsewhere it is the one that does not.
_COUNTS_THROUGH_SUSPEND = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """Where wall time and fresh names come from. `now` may step backwards; the journal never does."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""

    def fresh_id(self) -> str:
        """Return a name that nobody else has."""


@runtime_checkable
class LeaseClock(Protocol):
    """What leases are timed on."""

    def elapsed(self) -> float:
        """Return seconds since some moment, counted through suspend, and never set by anybody."""


class SystemClock:
    """The machine's clocks and random names."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        return time.time()

    def fresh_id(self) -> str:
        """Return 32 random hexadecimal digits."""
        return secrets.token_hex(16)

    def elapsed(self) -> float:
        """Return seconds since the machine was started."""
        return time.clock_gettime(_COUNTS_THROUGH_SUSPEND)


def lease_clock(clock: Clock) -> LeaseClock:
    """Return a clock that leases can be timed on: the given one, if it can do that."""
    return clock if isinstance(clock, LeaseClock) else SystemClock()
