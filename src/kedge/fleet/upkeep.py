"""Background maintenance: any process that writes or is a member looks from time to time whether there is work."""

import threading
import time
from collections.abc import Callable

from kedge.support.callbacks import log_failure
from kedge.turns.kernel import Kernel

LOOK_SECONDS = 10.0  # between two looks of one process

Progress = Callable[[int, int], None]


class Upkeep:
    """Calls `run(progress)` in a thread of its own, when it is due and a policy is set. A failure is logged."""

    def __init__(self, kernel: Kernel, run: Callable[[Progress], None]) -> None:
        self._kernel = kernel
        self._run = run
        self._next = time.monotonic() + LOOK_SECONDS
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def consider(self) -> None:
        """Start a look if it is due. Runs no query itself."""
        now = time.monotonic()
        if now < self._next or self._is_closed or (self._thread is not None and self._thread.is_alive()):
            return
        self._next = now + LOOK_SECONDS
        record = self._kernel.backend.control.known()
        if record is not None and not record.needs_upkeep:
            return
        self._thread = threading.Thread(target=self._look, name="kedge-maintenance", daemon=True)
        self._thread.start()

    def _look(self) -> None:
        try:
            self._run(self._go_on)
        except _Closed:
            pass
        except Exception as error:  # noqa: BLE001 - the edge of this thread: the next look tries again
            if not self._is_closed:
                log_failure("the maintenance in the background failed, and will be tried again", error)

    def _go_on(self, _done: int, _total: int) -> None:
        if self._is_closed:
            raise _Closed

    def close(self) -> None:
        """Stop after the part that is being worked on."""
        self._is_closed = True
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)


class _Closed(Exception):
    """The database is being closed."""
