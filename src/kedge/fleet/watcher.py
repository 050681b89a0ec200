"""Telling callbacks that the control record has moved."""

import threading
import time
from collections.abc import Callable

from kedge.turns.kernel import Kernel

POLL_SECONDS = 0.01
UNPROMPTED_SECONDS = 0.25

Callback = Callable[[int], object]


def report(error: Exception) -> None:
    """Tell `threading.excepthook` what a thread of Kedge's own met and goes on after."""
    args = (type(error), error, error.__traceback__, threading.current_thread())
    threading.excepthook(threading.ExceptHookArgs(args))


class Watcher:
    """One thread a `Kedge`, started with the first callback: looks at the doorbell often, at the epoch now and then.

    A callback that raises is told to `threading.excepthook` and called again at the next epoch. While this process is a
    member, it is the member's thread that tells: what it acknowledges, the callbacks have heard of.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._callbacks: dict[int, tuple[Callback, int]] = {}
        self._lock = threading.Lock()
        self._telling = threading.RLock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._next = 0
        self.calling: Callback | None = None  # what has not returned yet

    def add(self, callback: Callback) -> Callable[[], None]:
        """Call back after each epoch that this process catches up with; return what ends it."""
        epoch = self._kernel.backend.control.epoch()
        with self._lock:
            ticket, self._next = self._next, self._next + 1
            self._callbacks[ticket] = (callback, epoch)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="kedge-watch", daemon=True)
                self._thread.start()

        def remove() -> None:
            with self._lock:
                self._callbacks.pop(ticket, None)

        return remove

    def _run(self) -> None:
        hint: object = None
        looked = 0.0
        while not self._stop.wait(POLL_SECONDS):
            found = self._kernel.backend.change_hint()
            now = time.monotonic()
            if found == hint and now - looked < UNPROMPTED_SECONDS:
                continue
            hint, looked = found, now
            if self._kernel.membership is not None:
                continue
            try:
                with self._telling:
                    self._try_each(self._kernel.backend.control.epoch())
            except Exception as error:  # noqa: BLE001 - the edge of this thread: it reports, and watches on
                if self._stop.is_set():
                    return
                report(error)

    def _try_each(self, epoch: int) -> None:
        for ticket, callback in self._behind(epoch):
            self._heard(ticket, epoch)
            try:
                self._call(callback, epoch)
            except Exception as error:  # noqa: BLE001 - somebody else's: it is reported, and the others are told
                report(error)

    def tell(self, epoch: int) -> None:
        """Call those back that have not heard of this epoch, and return when all have.

        What one raises comes out, and it is called again at the next try.
        """
        with self._telling:
            for ticket, callback in self._behind(epoch):
                self._call(callback, epoch)
                self._heard(ticket, epoch)

    def _call(self, callback: Callback, epoch: int) -> None:
        self.calling = callback
        try:
            callback(epoch)
        finally:
            self.calling = None

    def _behind(self, epoch: int) -> list[tuple[int, Callback]]:
        with self._lock:
            return [(ticket, callback) for ticket, (callback, told) in self._callbacks.items() if told < epoch]

    def _heard(self, ticket: int, epoch: int) -> None:
        with self._lock:
            if ticket in self._callbacks:
                self._callbacks[ticket] = (self._callbacks[ticket][0], epoch)

    def close(self) -> None:
        """Stop calling back; wait for a callback that is running, unless it is the one that closes."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)
