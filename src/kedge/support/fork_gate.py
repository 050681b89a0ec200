"""Fork gate: a fork waits until no thread uses a resource that the child must not inherit in use."""

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from weakref import WeakMethod

from kedge.support.interrupts import Shielded, interruptible

WAIT_SECONDS = 60.0  # a fork waits so long, at most
_ROUND_SECONDS = 1.0  # then it lets the waiting threads in for a moment: one of them may have what another waits for
_PAUSE_SECONDS = 0.01
_LOOK_SECONDS = 0.001


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
        self._lock = threading.RLock()  # a finalizer may end a hold
        self._holds: dict[int, list[Hold]] = {}
        self._cut: set[str] = set()
        self._forking: int | None = None
        self._is_closed = False
        self._releases: list[WeakMethod[Callable[[], None]]] = []
        fork = _Fork(self)
        after = partial(fork.__exit__, None, None, None)
        os.register_at_fork(before=fork.__enter__, after_in_parent=after, after_in_child=self._begin)

    def before_fork(self, release: Callable[[], None]) -> None:
        """Call a bound method before each fork, while nothing but cut resources is held."""
        with self._lock:
            self._releases = [known for known in self._releases if known() is not None]
            self._releases.append(WeakMethod(release))

    def holding(self, name: str) -> "Holding":
        """Hold a resource during a `with` statement."""
        return Holding(self, name)

    def enter(self, name: str) -> Hold:
        """Hold a resource; while another thread forks, wait, unless this thread holds something already."""
        hold = Hold(threading.get_ident(), name)
        while not self._admit(hold):
            interruptible(time.sleep, _LOOK_SECONDS)
        return hold

    def _admit(self, hold: Hold) -> bool:
        with self._lock:
            if self._is_closed and hold.thread not in self._holds and hold.thread != self._forking:
                return False
            self._holds.setdefault(hold.thread, []).append(hold)
            return True

    def leave(self, hold: Hold) -> None:
        """End a hold."""
        with self._lock:
            self._remove(hold)

    def _remove(self, hold: Hold) -> bool:
        held = self._holds.get(hold.thread, [])
        if hold not in held:  # in a forked child
            return False
        held.remove(hold)
        if not held:
            del self._holds[hold.thread]
        return True

    def pass_on(self, hold: Hold, thread: int) -> None:
        """Make a hold that of another thread, which goes on with the resource."""
        with self._lock:
            if self._remove(hold):
                hold.thread = thread
                self._holds.setdefault(thread, []).append(hold)

    def is_cut(self, name: str) -> bool:
        """Return whether this process was forked while a resource was held."""
        return name in self._cut

    # ── the fork ──

    def close(self) -> None:
        """Let nothing in, wait until no other thread holds anything, and release what is idle."""
        here, began = threading.get_ident(), time.monotonic()
        try:
            while not self._begins_fork(here):
                interruptible(time.sleep, _LOOK_SECONDS)
            while not self._is_idle(here) and (waited := time.monotonic() - began) < self.wait_seconds:
                if waited % (_ROUND_SECONDS + _PAUSE_SECONDS) > _ROUND_SECONDS:
                    self._is_closed = False
                    interruptible(time.sleep, _PAUSE_SECONDS)
                else:
                    interruptible(time.sleep, _LOOK_SECONDS)
        finally:
            for release in [known() for known in self._releases]:
                if release is not None:
                    release()

    def _begins_fork(self, here: int) -> bool:
        with self._lock:
            if self._forking is None:
                self._forking = here
            return self._forking == here

    def _is_idle(self, here: int) -> bool:
        """Close the gate; return whether no other thread holds anything."""
        with self._lock:
            self._is_closed = True
            return all(thread == here for thread in self._holds)

    def open(self) -> None:
        """Let all in again."""
        with self._lock:
            self._forking, self._is_closed = None, False

    def _begin(self) -> None:
        """Begin anew in the child, where only the forking thread exists."""
        self._lock = threading.RLock()
        self._cut |= {hold.name for held in self._holds.values() for hold in held}
        self._holds = {}
        self._forking, self._is_closed = None, False


class Holding(Shielded[None]):
    """The use of a resource during a `with` statement."""

    def __init__(self, gate: ForkGate, name: str) -> None:
        self._gate = gate
        self._name = name

    def take(self) -> None:
        """Enter the gate."""
        self._hold = self._gate.enter(self._name)

    def give(self, error: BaseException | None) -> None:  # noqa: ARG002 - of the base class
        """Leave it."""
        self._gate.leave(self._hold)


class _Fork(Shielded[None]):
    """A fork, during which the gate is closed."""

    def __init__(self, gate: ForkGate) -> None:
        self._gate = gate

    def take(self) -> None:
        """Close the gate."""
        self._gate.close()

    def give(self, error: BaseException | None) -> None:  # noqa: ARG002 - as above
        """Open it, in the parent."""
        self._gate.open()
