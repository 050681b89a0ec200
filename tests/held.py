"""Calls that are held in the middle, or made at once: by threads, and by forks."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable

from kedge.support import failpoints

SECONDS = 30


def held_at(point: str, nth: int = 1) -> tuple[threading.Event, threading.Event]:
    """Have the next call that reaches a point wait there; return what tells that it has, and what lets it go on."""
    begun, released = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        released.wait(SECONDS)

    failpoints.arm(point, wait, nth=nth)
    return begun, released


def fork() -> int:
    """Fork this process, as `os.fork`; Python 3.12 and later warn of what is tested by it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def run_all(target: Callable[[int], None], numbers: range) -> None:
    """Run a function at once in threads of its own, one a number, and wait for all."""
    threads = [threading.Thread(target=target, args=(n,)) for n in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
