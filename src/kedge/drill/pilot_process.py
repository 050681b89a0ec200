"""Pilots of the automatic drill: `k.guard.launch` in a process of its own, which may be killed at a step."""

import multiprocessing
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from kedge.drill.database import Opener
from kedge.errors import IllegalTransition, PilotRuns
from kedge.support import failpoints

LOOK_SECONDS = 0.1
LEASE_SECONDS = 1.5
BEFORE_SESSIONS = (
    "deployed", "begun", "decided", "stored", "snapshot", "snapshot:done", "canary", "canary:done", "performed",
    "marked",
)  # fmt: skip
STEPS = (*BEFORE_SESSIONS, "tighten", "tighten:done", "roll_back", "roll_back:done")
"""The steps at which a pilot can be killed, in the order in which a launch reaches them."""


class PilotProcess:
    """A process that pilots the launch; with `kill_at`, it is killed (SIGKILL) when it first reaches that step."""

    def __init__(self, open_: Opener, url: str, release: Path, kill_at: str | None) -> None:
        self.kill_at = kill_at
        context = multiprocessing.get_context("spawn")
        arguments = (open_, url, str(release), kill_at)
        self._process = context.Process(target=_pilot, args=arguments, name="kedge-drill-pilot", daemon=True)
        self._process.start()

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return self._process.is_alive()

    @property
    def was_killed(self) -> bool:
        """Whether SIGKILL ended it, as armed."""
        return self._process.exitcode == -signal.SIGKILL

    @property
    def failed(self) -> bool:
        """Whether it ended with an error; its traceback is on stderr."""
        return (self._process.exitcode or 0) > 0

    def wait(self, seconds: float) -> None:
        """Wait for its end, at most so long."""
        self._process.join(seconds)

    def close(self) -> None:
        """End the process, if it still runs."""
        if self._process.is_alive():
            self._process.terminate()
        self._process.join(10)


def _pilot(open_: Opener, url: str, release: str, kill_at: str | None) -> None:
    """Pilot the launch to its end. Ctrl-C is the parent's affair. Nothing is done while another pilot's lease lasts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if kill_at is not None:
        failpoints.arm(f"launch:{kill_at}", failpoints.kill_self, nth=1)
    with open_(url) as k, suppress(PilotRuns, IllegalTransition):  # the lease of another lasts, or it has ended
        guard: Any = k.guard
        guard.launch(release, every=LOOK_SECONDS, lease=LEASE_SECONDS)


__all__ = ["BEFORE_SESSIONS", "STEPS", "PilotProcess"]
