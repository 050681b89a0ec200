"""One look at a launch, in a process that may be killed: `python -m tests.crash.launch_pilot URL TIME RELEASE`."""

from __future__ import annotations

import json
import os
import sys

import kedge


class FixedClock:
    """Time that stands still, and names of this process."""

    def __init__(self, time: float) -> None:
        self._time = time

    def now(self) -> float:
        return self._time

    def fresh_id(self) -> str:
        return os.urandom(16).hex()


def main() -> None:
    url, time, release = sys.argv[1:]
    with kedge.open(url, durability="normal", clock=FixedClock(float(time))) as k:
        k.guard.launch(json.loads(release), once=True)


if __name__ == "__main__":
    main()
