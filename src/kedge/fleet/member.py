"""Fleet member: a process that holds a lease and acknowledges epochs, and serves nothing without a lease."""

import atexit
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self
from weakref import WeakSet

import msgspec

from kedge.deployments import level_expiry, settling
from kedge.errors import Corruption, InvalidValue, KedgeError, LeaseExpired, Misuse
from kedge.fleet.stop_log import StopLog
from kedge.fleet.watcher import POLL_SECONDS, UNPROMPTED_SECONDS, Watcher, report
from kedge.model.checks import check_name, check_names, check_seconds
from kedge.model.fleet import (
    HELD_MAX,
    LEASE_SECONDS_MAX,
    LOOKS,
    NO_EPOCH,
    CatchUp,
    Held,
    Lease,
    Refresh,
    Standing,
    renew,
)
from kedge.model.levels import LEVELS, Level
from kedge.ports.clock import lease_clock
from kedge.support.display import brief
from kedge.turns.kernel import Kernel

Holds = Callable[[], Iterable[Held]]
LEASE_SECONDS = 10.0
SAFE_LEVELS = LEVELS[LEVELS.index(Level.FROZEN) :]
LEAVE_SECONDS = 5.0

_leases: WeakSet[Lease] = WeakSet()


class Member:
    """This process as a member: `k.join()` makes one. Use it as a context manager, or `leave()`.

    A thread refreshes the lease after a third of its duration, and at once when the control record changes. While the
    lease has run out, turns raise `LeaseExpired` and their level is at most the safe one. The thread keeps trying.
    """

    def __init__(
        self, kernel: Kernel, watcher: Watcher, standing: Standing, *, safe_level: Level, holds: Holds | None
    ) -> None:
        self._kernel = kernel
        self._watcher = watcher
        self._standing = standing
        self._safe_level = safe_level
        self._holds = holds
        self._clock = lease_clock(kernel.backend.clock)
        self._lease = Lease(standing.lease_seconds)
        self._last_error: str | None = None
        self._catch_up_thread: int | None = None
        self._has_left = False
        self._refreshing = threading.Lock()
        self._applying: threading.Thread | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kedge-member", daemon=True)
        self._hint = kernel.backend.change_hint()  # before the epoch is read: a later change gives another hint
        self._polled_at = time.monotonic()
        self._stop_log = StopLog(kernel, standing.name)
        self._poll_seconds = max(UNPROMPTED_SECONDS, standing.lease_seconds / LOOKS)
        self._newest_epoch = NO_EPOCH
        _leases.add(self._lease)
        self._lease.caught_up(self._catch_up(kernel.backend.control.epoch()))
        self._refresh()
        kernel.membership = self
        atexit.register(self.leave)
        self._thread.start()

    # ── refreshing ──

    def _run(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            try:
                self._stop_log.consider()
                if self._has_news():
                    self._refresh(self._newest_epoch)
                elif self._lease.is_due(self._clock.elapsed()):
                    self._refresh()
                    self._apply_due()
                    self._kernel.consider_upkeep()
                else:
                    continue
                self._last_error = None
            except Exception as error:  # noqa: BLE001 - the edge of this thread: it records why and retries
                self._last_error = f"{type(error).__name__}: {error}"
                if not isinstance(error, KedgeError):  # a callback's
                    report(error)
        if self._has_left:  # leave() timed out on this thread: its last refresh may have followed
            self._report_leave()

    def _apply_due(self) -> None:
        """Settle, and lift expired level entries, in a thread of its own: a slow commit does not cost the lease."""
        is_due = settling.has_due(self._kernel) or level_expiry.has_due(self._kernel)
        if is_due and (self._applying is None or not self._applying.is_alive()):
            self._applying = threading.Thread(target=self._apply, name="kedge-settle", daemon=True)
            self._applying.start()

    def _apply(self) -> None:
        try:
            level_expiry.expire_due(self._kernel)
            settling.settle_due(self._kernel)
        except Exception as error:  # noqa: BLE001 - the edge of this thread: it reports why and is tried again
            if not self._stop.is_set():
                report(error)

    def _has_news(self) -> bool:
        """Return whether there is a newer epoch; ask the store after a change hint, and at intervals without one."""
        found, now = self._kernel.backend.change_hint(), time.monotonic()
        if found == self._hint and now - self._polled_at < self._poll_seconds:
            return False
        self._hint, self._polled_at = found, now
        before, self._newest_epoch = self._newest_epoch, max(self._newest_epoch, self._kernel.backend.control.epoch())
        return self._newest_epoch > before

    def _refresh(self, heard: int = NO_EPOCH) -> None:
        with self._refreshing:
            steps = renew(self._lease, self._clock.elapsed, heard)
            step: Refresh | CatchUp | None = next(steps)
            while step is not None:
                answer = self._send(step) if isinstance(step, Refresh) else self._catch_up(step.epoch)
                try:
                    step = steps.send(answer)
                except StopIteration:
                    step = None

    def _send(self, refresh: Refresh) -> int:
        held = () if self._holds is None else _checked(self._holds())
        now = self._kernel.backend.clock.now()
        standing = msgspec.structs.replace(self._standing, epoch=refresh.epoch, at=now, held=held)
        epoch = self._kernel.backend.fleet.refresh(standing)
        if epoch < refresh.epoch:
            raise Corruption(
                f"the database is at epoch {epoch}, but this member has acknowledged epoch {refresh.epoch}: it was "
                "restored from a backup, or failed over to a server without the last commits; check which, then "
                "restart this process"
            )
        self._newest_epoch = max(self._newest_epoch, epoch)
        return epoch

    def _catch_up(self, epoch: int) -> int:
        self._catch_up_thread = threading.get_ident()
        try:
            self._watcher.notify(epoch)
        finally:
            self._catch_up_thread = None
        return epoch

    # ── what turns use ──

    def check(self) -> None:
        """Raise `LeaseExpired` unless the lease holds; call it before anything leaves this process."""
        if not self.serving and threading.get_ident() != self._catch_up_thread:
            raise LeaseExpired(
                f"the lease of member {self.name!r} ({self._lease.seconds:g} s) has run out: {self._why()}; "
                "the member retries by itself: begin a new turn later"
            )

    def _why(self) -> str:
        if self._is_fork:
            return "this process is a fork of the member, and a fork must join itself: call leave() here, then k.join()"
        if (callback := self._watcher.calling) is not None:
            name = getattr(callback, "__qualname__", repr(callback))
            return f"the on_change callback {name} has not returned"
        if self._last_error is not None:
            return f"it could not be refreshed ({self._last_error})"
        if self._stop.is_set():
            return "it has left; k.join() again"
        also = "" if self._holds is None else ", or holds() has not returned"
        return f"this process was paused, or the database did not answer in time{also}"

    @property
    def name(self) -> str:
        """The member's name."""
        return self._standing.name

    @property
    def lease_seconds(self) -> float:
        """How many seconds the lease holds after a refresh was sent."""
        return self._lease.seconds

    @property
    def safe_level(self) -> Level:
        """The highest level of its features while the lease has run out."""
        return self._safe_level

    @property
    def serving(self) -> bool:
        """Whether the lease holds now."""
        return self._lease.holds(self._clock.elapsed())

    @property
    def epoch(self) -> int | None:
        """The epoch that this process has caught up with, or None while the lease has run out."""
        return self._lease.epoch if self.serving else None

    @property
    def heard(self) -> int:
        """The newest epoch that this process knows of, caught up with or not."""
        return self._newest_epoch

    # ── the end ──

    @property
    def _is_fork(self) -> bool:
        return os.getpid() != self._standing.pid

    def leave(self) -> None:
        """End the membership. If the database cannot be reached, rollbacks wait until the lease has run out."""
        if self._is_fork:
            self._kernel.membership = None
            return
        if self._stop.is_set():
            return
        self._stop.set()
        atexit.unregister(self.leave)
        if self._thread is not threading.current_thread():
            self._thread.join(LEAVE_SECONDS)
        self._lease.end()
        if self._kernel.membership is self:
            self._kernel.membership = None
        self._has_left = True
        self._report_leave()

    def _report_leave(self) -> None:
        with suppress(KedgeError):
            self._kernel.backend.fleet.leave(self._standing.uid)

    def __repr__(self) -> str:
        """Return one line, without asking the database."""
        return f"<Member {brief(self.name)}>"

    def __enter__(self) -> Self:
        """Return the member itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave."""
        self.leave()


def _after_fork() -> None:
    for lease in list(_leases):  # the child has no thread that refreshes them
        lease.end()


os.register_at_fork(after_in_child=_after_fork)


def join(
    kernel: Kernel,
    watcher: Watcher,
    *,
    name: str | None,
    lease_seconds: float,
    safe_level: str,
    serves: Iterable[str],
    holds: Holds | None,
) -> Member:
    """Make this process a member; return after its first refresh."""
    if kernel.membership is not None:
        raise Misuse("this Kedge is already a member; call leave() first, or open another Kedge")
    host, pid, now = socket.gethostname(), os.getpid(), kernel.backend.clock.now()
    standing = Standing(
        uid=kernel.backend.clock.fresh_id(),
        name=check_name("the member's name", f"{host}-{pid}" if name is None else name),
        host=host,
        pid=pid,
        serves=check_names("serves", serves),
        lease_seconds=_seconds(lease_seconds),
        epoch=NO_EPOCH,
        joined_at=now,
        at=now,
        code=kernel.code,
    )
    if safe_level not in SAFE_LEVELS:
        raise InvalidValue(f"invalid safe level {safe_level!r}: must be one of {', '.join(SAFE_LEVELS)}")
    return Member(kernel, watcher, standing, safe_level=Level(safe_level), holds=holds)


def _seconds(lease_seconds: float) -> float:
    seconds = check_seconds("lease_seconds", lease_seconds)
    if seconds is None or seconds > LEASE_SECONDS_MAX:
        raise InvalidValue(f"invalid lease_seconds {lease_seconds!r}: must be positive, up to {LEASE_SECONDS_MAX:g}")
    return seconds


def _checked(held: Iterable[Held]) -> tuple[Held, ...]:
    """Return the first entries of what a process holds, as many as are reported."""
    reported = []
    for item in held:
        if not isinstance(item, Held) or item.store not in {"context", "memory"}:
            raise InvalidValue(f"invalid result of holds(): {item!r:.80}: must be kedge.Held of context or memory")
        reported.append(item)
        if len(reported) == HELD_MAX:
            break
    return tuple(reported)
