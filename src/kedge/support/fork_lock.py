"""What a forked process may go on with."""

import os
import threading
from weakref import WeakSet


class ForkSafeLock:
    """A lock that is free in a forked child: the thread that held it does not exist there."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _fork_safe.add(self)

    def after_fork(self) -> None:
        """Forget who held it."""
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        """Wait for it, and hold it."""
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        """Let go of it."""
        self._lock.release()


_fork_safe: WeakSet[ForkSafeLock] = WeakSet()


def _after_fork() -> None:
    for lock in _fork_safe:
        lock.after_fork()


os.register_at_fork(after_in_child=_after_fork)
