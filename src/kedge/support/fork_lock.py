"""Locks that are free in a forked child process."""

import os
import threading
from weakref import WeakSet


class ForkSafeLock:
    """A reentrant lock that is free in a forked child: the thread that held it does not exist there.

        with lock.here: ...

    No method of this class acquires it: Ctrl-C between such a method and the block would leave it acquired.
    """

    def __init__(self) -> None:
        self.here = threading.RLock()
        _fork_safe.add(self)

    def after_fork(self) -> None:
        """Replace the lock, whose holder does not exist in this process."""
        self.here = threading.RLock()


_fork_safe: WeakSet[ForkSafeLock] = WeakSet()


def _after_fork() -> None:
    for lock in _fork_safe:
        lock.after_fork()


os.register_at_fork(after_in_child=_after_fork)
