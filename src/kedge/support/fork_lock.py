"""Locks that are free in a forked child process."""

import os
import threading
from weakref import WeakSet


class ForkSafeLock:
    """A reentrant lock that is free in a forked child: the thread that held it does not exist there."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _fork_safe.add(self)

    def after_fork(self) -> None:
        """Replace the lock, whose holder does not exist in this process."""
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        """Acquire the lock."""
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        """Release the lock."""
        self._lock.release()


_fork_safe: WeakSet[ForkSafeLock] = WeakSet()


def _after_fork() -> None:
    for lock in _fork_safe:
        lock.after_fork()


os.register_at_fork(after_in_child=_after_fork)
