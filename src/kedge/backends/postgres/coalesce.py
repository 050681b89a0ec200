"""Request coalescing: concurrent calls of one process share one statement."""

import os
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from kedge.errors import Busy
from kedge.support.fork_lock import ForkSafeLock
from kedge.support.interrupts import interruptible, shielded

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
R = TypeVar("R")


class _Call(Generic[K, V, R]):
    """One call, which waits for its result."""

    def __init__(self, key: K, value: V) -> None:
        self.key = key
        self.value = value
        self.found: list[R] = []
        self.error: BaseException | None = None
        self.is_over = threading.Lock()  # not a `Future`: an interruption can leave the lock in it locked
        self.is_over.acquire()


class Coalescer(Generic[K, V, R]):
    """Calls `act` with the values that arrived while it was busy, one for each key, and returns its result to all.

    The first thread runs `act`, also for the calls that arrive meanwhile. An interruption (Ctrl-C) of that thread ends
    the calls of others with `Busy`.
    """

    def __init__(self, act: Callable[[list[V]], R]) -> None:
        self._act = act
        self._lock = ForkSafeLock()
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._waiting: list[_Call[K, V, R]] = []
        self._busy = False

    def call(self, key: K, value: V) -> R:
        """Return the result of `act`, or raise its error."""
        return shielded(self._call, _Call[K, V, R](key, value))

    def _call(self, call: _Call[K, V, R]) -> R:
        with self._lock.here:
            if self._pid != os.getpid():  # the thread that ran `act` does not exist in a fork
                self._begin()
            self._waiting.append(call)
            is_first, self._busy = not self._busy, True
        if is_first:
            self._run()
        interruptible(call.is_over.acquire)
        if call.error is not None:
            raise call.error
        return call.found[0]

    def _run(self) -> None:
        """Do what waits, and what arrives meanwhile."""
        while taken := self._take():
            try:
                done = self._act([call.value for call in taken])
            except Exception as error:  # noqa: BLE001 - it is raised in the waiting threads
                _end(taken, error=error)
            except BaseException:
                with self._lock.here:
                    taken, self._waiting, self._busy = [*taken, *self._waiting], [], False
                _end(taken, error=Busy("the thread that worked for this one, too, was stopped; try again"))
                raise
            else:
                _end(taken, done)

    def _take(self) -> list[_Call[K, V, R]]:
        """Return the first waiting call of each key; without any, end the run."""
        with self._lock.here:
            taken: dict[K, _Call[K, V, R]] = {}
            self._waiting = [call for call in self._waiting if taken.setdefault(call.key, call) is not call]
            self._busy = bool(taken)
            return list(taken.values())


def _end(calls: list[_Call[K, V, R]], *found: R, error: Exception | None = None) -> None:
    for call in calls:
        call.found.extend(found)
        call.error = error
        call.is_over.release()
