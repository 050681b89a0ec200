"""Failpoints: named places in the code where a test can kill the process or run an action.

`KEDGE_FAILPOINT=append:rows` kills this process (SIGKILL: nothing is flushed, no handler runs) when it first reaches
`append:rows`; `append:rows:3` does so at the third time. A test in the same process arms an action instead.
"""

import os
import signal
import threading
from collections.abc import Callable
from typing import NamedTuple

Action = Callable[[], object]

ENVIRONMENT = "KEDGE_FAILPOINT"


class _Armed(NamedTuple):
    action: Action
    nth: int | None


_lock = threading.Lock()
_points: dict[str, _Armed] = {}
_reached: dict[str, int] = {}
_any_armed = False


def reach(name: str) -> None:
    """Mark a place where a crash must do no harm. Costs one check of a flag unless something is armed."""
    if _any_armed:
        _act(name)


def arm(name: str, action: Action, *, nth: int | None = None) -> None:
    """Run `action` at every reach of `name` from now on, or at the `nth` only.

    It runs in the thread that reaches the place; its exceptions propagate there.
    """
    global _any_armed  # noqa: PLW0603 - a module-level flag is the cheapest check for `reach`
    if nth is not None and nth < 1:
        raise ValueError(f"invalid nth={nth} of failpoint {name!r}: must be at least 1")
    with _lock:
        _points[name] = _Armed(action, nth)
        _reached[name] = 0
        _any_armed = True


def disarm() -> None:
    """Remove all armed actions."""
    global _any_armed  # noqa: PLW0603 - as in `arm`
    with _lock:
        _points.clear()
        _reached.clear()
        _any_armed = False


def kill_self() -> None:
    """End this process as a power cut does: at once, without handlers, flushes or an exit code."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm_from(setting: str) -> None:
    """Arm a kill from the value of `KEDGE_FAILPOINT`: `name` or `name:nth`. A name may contain colons."""
    name, colon, tail = setting.rpartition(":")
    if colon and tail.isdecimal():
        arm(name, kill_self, nth=int(tail))
    else:
        arm(setting, kill_self, nth=1)


def _act(name: str) -> None:
    with _lock:
        armed = _points.get(name)
        if armed is None:
            return
        _reached[name] += 1
        due = armed.nth is None or _reached[name] == armed.nth
    if due:
        armed.action()


if ENVIRONMENT in os.environ:
    arm_from(os.environ[ENVIRONMENT])
