"""Concurrent calls in tests: pause a call at a failpoint, fork, run threads at once."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable

from kedge.support import failpoints

SECONDS = 30


def pause_at(point: str, nth: int = 1) -> tuple[threading.Event, threading.Event]:
    """Pause the next call at a failpoint; return an event that is set when it pauses, and one that resumes it."""
    begun, released = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        released.wait(SECONDS)

    failpoints.arm(point, wait, nth=nth)
    return begun, released


def fork() -> int:
    """Fork this process with `os.fork`, without the warning of Python 3.12 and later."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def run_all(target: Callable[[int], None], numbers: range) -> None:
    """Run a function in one thread a number, at once, and wait for all."""
    threads = [threading.Thread(target=target, args=(n,)) for n in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
