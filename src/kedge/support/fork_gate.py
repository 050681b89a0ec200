"""Fork gate: a fork waits until no thread uses a resource that the child must not inherit in use."""

import os
import threading
import time
from collections.abc import Callable
from weakref import WeakMethod

WAIT_SECONDS = 60.0  # a fork waits so long, at most
_ROUND_SECONDS = 1.0  # then it lets the waiting threads in for a moment: one of them may have what another waits for
_PAUSE_SECONDS = 0.01


class Hold:
    """The use of one resource by one thread."""

    def __init__(self, thread: int, name: str) -> None:
        self.thread = thread
        self.name = name


class ForkGate:
    """Keeps forks and the use of some resources apart.

    A fork waits until no other thread holds a resource, and new holds wait until the fork is done. Then it releases
    what is idle, so that the child inherits nothing. What is still held after `wait_seconds`, or by the forking thread,
    is cut in the child: it must not be used there.
    """

    def __init__(self, wait_seconds: float = WAIT_SECONDS) -> None:
        self.wait_seconds = wait_seconds
        self._changed = threading.Condition()
        self._holds: dict[int, list[Hold]] = {}
        self._cut: set[str] = set()
        self._forking: int | None = None
        self._is_closed = False
        self._releases: list[WeakMethod[Callable[[], None]]] = []
        os.register_at_fork(before=self._close, after_in_parent=self._open, after_in_child=self._begin)

    def before_fork(self, release: Callable[[], None]) -> None:
        """Call a bound method before each fork, while nothing but cut resources is held."""
        with self._changed:
            self._releases = [known for known in self._releases if known() is not None]
            self._releases.append(WeakMethod(release))

    def enter(self, name: str) -> Hold:
        """Hold a resource; while another thread forks, wait, unless this thread holds something already."""
        here = threading.get_ident()
        hold = Hold(here, name)
        with self._changed:
            while self._is_closed and here not in self._holds and here != self._forking:
                self._changed.wait(_ROUND_SECONDS)
            self._holds.setdefault(here, []).append(hold)
        return hold

    def leave(self, hold: Hold) -> None:
        """End a hold."""
        with self._changed:
            held = self._holds.get(hold.thread, [])
            if hold in held:  # in a forked child, it is not
                held.remove(hold)
            if not held:
                self._holds.pop(hold.thread, None)
            if self._is_closed:
                self._changed.notify_all()

    def pass_on(self, hold: Hold, thread: int) -> None:
        """Make a hold that of another thread, which goes on with the resource."""
        with self._changed:
            held = self._holds.get(hold.thread, [])
            if hold not in held:  # in a forked child
                return
            held.remove(hold)
            if not held:
                self._holds.pop(hold.thread)
            hold.thread = thread
            self._holds.setdefault(thread, []).append(hold)
            if self._is_closed:
                self._changed.notify_all()

    def is_cut(self, name: str) -> bool:
        """Return whether this process was forked while a resource was held."""
        return name in self._cut

    # ── the fork ──

    def _close(self) -> None:
        here, deadline = threading.get_ident(), time.monotonic() + self.wait_seconds
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._forking is None)
                self._forking = here
                while not self._is_idle(here) and time.monotonic() < deadline:
                    self._is_closed = True
                    if not self._changed.wait_for(lambda: self._is_idle(here), min(_ROUND_SECONDS, self.wait_seconds)):
                        self._is_closed = False
                        self._changed.notify_all()
                        self._changed.wait(_PAUSE_SECONDS)
                self._is_closed = True
        finally:
            for release in [known() for known in self._releases]:
                if release is not None:
                    release()

    def _is_idle(self, here: int) -> bool:
        return all(thread == here for thread in self._holds)

    def _open(self) -> None:
        with self._changed:
            self._forking, self._is_closed = None, False
            self._changed.notify_all()

    def _begin(self) -> None:
        """Begin anew in the child, where only the forking thread exists."""
        self._changed = threading.Condition()
        self._cut |= {hold.name for held in self._holds.values() for hold in held}
        self._holds = {}
        self._forking, self._is_closed = None, False
