"""Request coalescing: concurrent calls of one process share one statement."""

import os
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

from kedge.support.fork_lock import ForkSafeLock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
R = TypeVar("R")


class Coalescer(Generic[K, V, R]):
    """Calls `act` with the values that arrived while it was busy, one for each key, and returns its result to all.

    The first thread runs `act`, also for the calls that arrive meanwhile.
    """

    def __init__(self, act: Callable[[list[V]], R]) -> None:
        self._act = act
        self._lock = ForkSafeLock()
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._waiting: list[tuple[K, V, Future[R]]] = []
        self._busy = False

    def call(self, key: K, value: V) -> R:
        """Return the result of `act`, or raise its error."""
        answer: Future[R] = Future()
        with self._lock:
            if self._pid != os.getpid():  # the thread that ran `act` does not exist in a fork
                self._begin()
            self._waiting.append((key, value, answer))
            is_first, self._busy = not self._busy, True
        while is_first and (taken := self._take()):
            self._do(taken)
        return answer.result()

    def _take(self) -> dict[K, tuple[V, Future[R]]]:
        """Return the first waiting call of each key; without any, end the run."""
        with self._lock:
            taken: dict[K, tuple[V, Future[R]]] = {}
            later = []
            for key, value, answer in self._waiting:
                if key in taken:
                    later.append((key, value, answer))
                else:
                    taken[key] = (value, answer)
            self._waiting = later
            self._busy = bool(taken)
            return taken

    def _do(self, taken: dict[K, tuple[V, Future[R]]]) -> None:
        try:
            done = self._act([value for value, _ in taken.values()])
        except BaseException as error:  # noqa: BLE001 - it is raised in the waiting threads
            for _, answer in taken.values():
                answer.set_exception(error)
        else:
            for _, answer in taken.values():
                answer.set_result(done)
