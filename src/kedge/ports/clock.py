"""Time and names come in through here, so that a test can decide them."""

import time
import uuid
from typing import Protocol


class Clock(Protocol):
    """Where wall time and fresh names come from. `now` may step backwards; the journal never does."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""

    def fresh_id(self) -> str:
        """Return a name that nobody else has."""


class SystemClock:
    """The machine's clock and random names."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        return time.time()

    def fresh_id(self) -> str:
        """Return 32 random hexadecimal digits."""
        return uuid.uuid4().hex
