"""Watcher: calls back after each new epoch."""

import os
import threading
import time
from collections.abc import Callable
from weakref import WeakSet

from kedge.model.checks import check_callables
from kedge.turns.kernel import Kernel

POLL_SECONDS = 0.01
UNPROMPTED_SECONDS = 0.25
FORKED_SECONDS = 0.5  # a child's first poll waits so long: a process that becomes a daemon closes its files first

Callback = Callable[[int], object]


def report(error: Exception) -> None:
    """Pass an exception that a background thread survives to `threading.excepthook`."""
    args = (type(error), error, error.__traceback__, threading.current_thread())
    threading.excepthook(threading.ExceptHookArgs(args))


class Watcher:
    """One thread for each `Kedge`, started with the first callback. It polls the change hint, and the epoch less often.

    An exception of a callback goes to `threading.excepthook`; the callback is called again at the next epoch. While
    this process is a member, the member's thread calls back instead: before it acknowledges an epoch, all callbacks
    have returned. A forked child calls back, too, by a thread of its own.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._callbacks: dict[int, tuple[Callback, int]] = {}
        self._lock = threading.Lock()
        self._calling_lock = threading.RLock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._next = 0
        self.calling: Callback | None = None  # the callback that has not returned yet
        self._left_to_parent: object = None  # the membership at the fork: the parent's
        _watchers.add(self)

    def add(self, callback: Callback) -> Callable[[], None]:
        """Call back after each epoch that this process catches up with; return a function that ends it."""
        check_callables(callback=callback)
        epoch = self._kernel.backend.control.epoch()
        with self._lock:
            ticket, self._next = self._next, self._next + 1
            self._callbacks[ticket] = (callback, epoch)
            if self._thread is None:
                self._start(POLL_SECONDS)

        def remove() -> None:
            with self._lock:
                self._callbacks.pop(ticket, None)

        return remove

    def _start(self, first_seconds: float) -> None:
        self._thread = threading.Thread(target=self._run, args=(first_seconds,), name="kedge-watch", daemon=True)
        self._thread.start()

    def after_fork(self) -> None:
        """In the child: call back by a thread of its own. What held the locks does not exist here."""
        self._lock, self._calling_lock = threading.Lock(), threading.RLock()
        self._left_to_parent = self._kernel.membership
        if self._stop.is_set() or self._thread is None or self._thread is threading.current_thread():
            return
        self._stop, self.calling = threading.Event(), None
        self._start(FORKED_SECONDS)

    def _run(self, first_seconds: float) -> None:
        hint: object = None
        polled_at = 0.0
        self._stop.wait(first_seconds)
        while not self._stop.wait(POLL_SECONDS):
            found = self._kernel.backend.change_hint()
            now = time.monotonic()
            if found == hint and now - polled_at < UNPROMPTED_SECONDS:
                continue
            hint, polled_at = found, now
            if self._kernel.membership not in (None, self._left_to_parent):
                continue
            try:
                with self._calling_lock:
                    self._notify_each(self._kernel.backend.control.epoch())
            except Exception as error:  # noqa: BLE001 - the edge of this thread: it reports and continues
                if self._stop.is_set():
                    return
                report(error)

    def _notify_each(self, epoch: int) -> None:
        for ticket, callback in self._behind(epoch):
            self._mark_called(ticket, epoch)
            try:
                self._call(callback, epoch)
            except Exception as error:  # noqa: BLE001 - the user's callback: report it and call the others
                report(error)

    def notify(self, epoch: int) -> None:
        """Call each callback that was not called for this epoch yet; return when all have returned.

        An exception of a callback propagates; that callback is called again at the next try.
        """
        with self._calling_lock:
            for ticket, callback in self._behind(epoch):
                self._call(callback, epoch)
                self._mark_called(ticket, epoch)

    def _call(self, callback: Callback, epoch: int) -> None:
        self.calling = callback
        try:
            callback(epoch)
        finally:
            self.calling = None

    def _behind(self, epoch: int) -> list[tuple[int, Callback]]:
        with self._lock:
            return [(ticket, callback) for ticket, (callback, called) in self._callbacks.items() if called < epoch]

    def _mark_called(self, ticket: int, epoch: int) -> None:
        with self._lock:
            if ticket in self._callbacks:
                self._callbacks[ticket] = (self._callbacks[ticket][0], epoch)

    def close(self) -> None:
        """Stop calling back; wait for a callback that is running, unless it is the one that closes."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)


_watchers: WeakSet[Watcher] = WeakSet()


def _after_fork() -> None:
    for watcher in list(_watchers):
        watcher.after_fork()


os.register_at_fork(after_in_child=_after_fork)
