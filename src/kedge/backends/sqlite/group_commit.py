"""Group commit: threads that write at once share one transaction, and so one sync of the disk.

One thread at a time has the turn. It works in the transaction that is open, within a savepoint, or begins one; then it
passes the turn and the transaction to the next thread that waits. The last one commits, for all. So each thread runs
its own statements, and its error undoes them alone; only an error of the commit is an error of all.
"""

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from weakref import WeakSet

from kedge.errors import Busy, OutcomeUnknown
from kedge.support.failpoints import reach
from kedge.support.fork_gate import ForkGate, Hold
from kedge.support.interrupts import interruptible

MEMBERS_MAX = 64  # of a group: the first of them waits for the last
_STOPPED = (
    "another thread, which was committing this write with its own, was stopped; the write is there wholly or not at "
    "all: read it back, or repeat the call with the same idempotency key"
)


class Lent:
    """A connection in use, and the hold on the fork gate that goes with it."""

    def __init__(self, connection: sqlite3.Connection, hold: Hold) -> None:
        self.connection = connection
        self.hold = hold
        self.is_durable = True


def _taken() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


class Member:
    """The work of one thread, which waits for its turn and for the outcome of its group."""

    def __init__(self, *, shares: bool) -> None:
        self.thread = threading.get_ident()
        self.shares = shares
        self.group: _Group | None = None  # the one that it joins; None: it begins one
        self.undo: tuple[str, ...] = ()
        self.turn = _taken()  # released when it comes
        self.outcome = _taken()  # released when it is known

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of the transaction, in the member's turn."""
        assert self.group is not None  # noqa: S101 - it has entered
        return self.group.connection


class _Group:
    """One write transaction, and the members that have worked in it."""

    def __init__(self, lent: Lent) -> None:
        self.lent: Lent | None = lent
        self.connection = lent.connection
        self.members: list[Member] = []
        self.is_committed = False
        self.lost: sqlite3.Error | None = None  # why nothing is committed
        self._pid = os.getpid()

    @property
    def is_open(self) -> bool:
        """Whether there is something to commit: not after an error that SQLite answers by a rollback of everything."""
        return self._pid == os.getpid() and self.connection.in_transaction

    def undo(self, statements: tuple[str, ...]) -> None:
        """Undo the work of one member."""
        if self.is_open:
            with suppress(sqlite3.Error):  # then SQLite has rolled everything back
                for statement in statements:
                    self.connection.execute(statement)

    def commit(self, error: BaseException | None) -> None:
        """Commit, or note why that failed."""
        if not self.is_open:
            if not self.is_committed and isinstance(error, sqlite3.Error):
                self.lost = self.lost or error  # a member's error has undone the work of all
            return
        try:
            reach("group:before-commit")
            self.connection.execute("COMMIT")
            self.is_committed = True
        except sqlite3.Error as failed:
            self.lost = failed
        reach("group:committed")


_WHOLE = ("ROLLBACK",)
_OWN = ("ROLLBACK TO member", "RELEASE member")


class GroupCommit:
    """The turns of one database's writers in this process."""

    def __init__(self, gate: ForkGate, give_back: Callable[[Lent], None]) -> None:
        self.on_lost: list[Callable[[], None]] = []  # called where a group's commit failed, before the next one begins
        self._gate = gate
        self._give_back = give_back
        self.after_fork()
        _fork_safe.add(self)

    def after_fork(self) -> None:
        """Forget the threads of the parent process."""
        self._lock = threading.Lock()
        self._waiting: deque[Member] = deque()
        self._working: Member | None = None  # it has the turn

    def enter(self, begin: Callable[[], Lent], *, shares: bool) -> Member:
        """Return a member of a write transaction, whose turn it is; `leave` ends it.

        Unless it `shares`, the transaction is for this thread alone.
        """
        member = Member(shares=shares)
        try:
            group = self._enter(member)
            if group is None:
                member.group = _Group(begin())
                member.undo = _WHOLE
            else:
                group.connection.execute("SAVEPOINT member")
                member.undo = _OWN
        except BaseException as error:
            self._abandon(member, error)
            raise
        return member

    def leave(self, member: Member, error: BaseException | None) -> None:
        """Commit the work of a member, or undo it after an error."""
        if error is None and member.undo is _OWN:
            try:
                member.connection.execute("RELEASE member")
            except sqlite3.Error as failed:
                self._abandon(member, failed)
                raise
        if error is not None:
            self._abandon(member, error)
            return
        self._leave(member)
        if member.group is not None and not member.group.is_committed:
            raise member.group.lost or OutcomeUnknown(_STOPPED)

    def _abandon(self, member: Member, error: BaseException) -> None:
        """Undo the work of a member, if it has the turn."""
        if self._working is member:
            if member.group is not None:
                member.group.undo(member.undo)
            self._leave(member, error)

    # ── turns ──

    def _enter(self, member: Member) -> _Group | None:
        """Wait for the turn of a member; return the group that it joins."""
        with self._lock:
            if self._working is None:
                self._working = member
                return None
            if self._working.thread == member.thread:
                raise Busy("this thread is writing to the database already; end that call first")
            self._waiting.append(member)
        try:
            interruptible(member.turn.acquire)
        except BaseException:
            with self._lock, suppress(ValueError):  # its turn has come meanwhile
                self._waiting.remove(member)
            raise
        return member.group

    def _leave(self, member: Member, error: BaseException | None = None) -> None:
        """Pass the turn on, and return once the outcome of the group is known, but at once after an interruption."""
        waits = error is None or isinstance(error, Exception)
        self._pass_on(member, error, waits=waits)
        if waits and member.group is not None:
            interruptible(member.outcome.acquire)

    def _pass_on(self, member: Member, error: BaseException | None, *, waits: bool) -> None:
        """Pass an open transaction to the next thread, or commit it for all members and let the next one begin."""
        group = member.group
        if group is not None:
            if waits:
                group.members.append(member)
            if member.shares and group.is_open and len(group.members) < MEMBERS_MAX and self._next(group):
                return
            try:
                group.commit(error)
            finally:
                self._end(group)
        else:
            self._next(None)

    def _next(self, group: _Group | None) -> bool:
        """Give the turn to the next thread, with the transaction of a group where it shares; return whether it is."""
        with self._lock:
            following = self._waiting[0] if self._waiting else None
            if group is not None and (following is None or not following.shares or group.lent is None):
                return False
            if following is None:
                self._working = None
                return False
            if group is not None and group.lent is not None:
                following.group = group
                self._gate.pass_on(group.lent.hold, following.thread)
            self._working = following
            self._waiting.popleft()
            following.turn.release()
        return True

    def _end(self, group: _Group) -> None:
        """Give the connection back, tell all members that the outcome is known, and let the next group begin."""
        lent, group.lent = group.lent, None
        try:
            if group.lost is not None:
                for forget in self.on_lost:
                    forget()
            if lent is not None:
                self._give_back(lent)
        finally:
            for member in group.members:
                member.outcome.release()
            group.members = []  # no cycle is left for the garbage collector
            self._next(None)


_fork_safe: WeakSet[GroupCommit] = WeakSet()


def _after_fork() -> None:
    for group_commit in _fork_safe:
        group_commit.after_fork()


os.register_at_fork(after_in_child=_after_fork)
