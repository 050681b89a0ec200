"""Threads that ask for the same at about the same time, and share one statement."""

import os
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

from kedge.support.fork_lock import ForkSafeLock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
R = TypeVar("R")


class Together(Generic[K, V, R]):
    """Calls `act` with what has come while it was busy, one value a key, and gives all of them its answer.

    The thread that finds nobody at it does it, for those that come meanwhile, too.
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
        """Return what `act` answered, or raise what it raised."""
        answer: Future[R] = Future()
        with self._lock:
            if self._pid != os.getpid():  # whoever was at it does not exist in a fork
                self._begin()
            self._waiting.append((key, value, answer))
            is_first, self._busy = not self._busy, True
        while is_first and (taken := self._take()):
            self._do(taken)
        return answer.result()

    def _take(self) -> dict[K, tuple[V, Future[R]]]:
        """Return those that wait, of each key the first; be done when there are none."""
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
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is waited for
            for _, answer in taken.values():
                answer.set_exception(error)
        else:
            for _, answer in taken.values():
                answer.set_result(done)
