"""Group commit: threads that write at once share one transaction, and so one sync of the disk.

One thread at a time has the turn. It works in the transaction that is open, within a savepoint, or begins one; then it
passes the turn and the transaction to the next thread that waits. The last one commits, for all. So each thread runs
its own statements, and its error undoes them alone; only an error of the commit is an error of all.
"""

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from weakref import WeakSet

from kedge.errors import Busy
from kedge.support.failpoints import reach
from kedge.support.fork_gate import ForkGate, Hold

MEMBERS_MAX = 64  # of a group: the first of them waits for the last


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


class _Member:
    """The work of one thread, which waits for its turn and for the outcome of its group."""

    def __init__(self, *, shares: bool) -> None:
        self.thread = threading.get_ident()
        self.shares = shares
        self.group: _Group | None = None  # the one that it joins; None: it begins one
        self.turn = _taken()  # released when it comes
        self.outcome = _taken()  # released when it is known


class _Group:
    """One write transaction, and the members that have worked in it."""

    def __init__(self, lent: Lent) -> None:
        self.lent: Lent | None = lent
        self.connection = lent.connection
        self.members: list[_Member] = []
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

    def commit(self, error: BaseException | None, *, is_alone: bool) -> BaseException | None:
        """Commit, or note why that failed; return what interrupted this thread meanwhile.

        A Ctrl-C is for one thread: the work of others is committed none the less.
        """
        if not self.is_open:
            if not self.is_committed and isinstance(error, sqlite3.Error):
                self.lost = self.lost or error  # a member's error has undone the work of all
            return None
        interruption: BaseException | None = None
        while True:
            try:
                if interruption is None:
                    reach("group:before-commit")
                if self.is_open:
                    self.connection.execute("COMMIT")
                self.is_committed = True
                reach("group:committed")
            except sqlite3.Error as failed:
                self.lost = failed
            except BaseException as interrupted:  # noqa: BLE001 - returned
                interruption = interrupted
                if self.is_open and not is_alone:
                    continue
            return interruption


_WHOLE = ("ROLLBACK",)
_OWN = ("ROLLBACK TO member", "RELEASE member")


class GroupCommit:
    """The turns of one database's writers in this process."""

    def __init__(
        self, gate: ForkGate, give_back: Callable[[Lent], None], translate: Callable[[sqlite3.Error], Exception]
    ) -> None:
        self.on_lost: list[Callable[[], None]] = []  # called where a group's commit failed, before the next one begins
        self._gate = gate
        self._give_back = give_back
        self._translate = translate
        self.after_fork()
        _fork_safe.add(self)

    def after_fork(self) -> None:
        """Forget the threads of the parent process."""
        self._lock = threading.Lock()
        self._waiting: deque[_Member] = deque()
        self._working: _Member | None = None  # it has the turn

    @contextmanager
    def member(self, begin: Callable[[], Lent], *, shares: bool) -> Iterator[sqlite3.Connection]:
        """Lend the connection of a write transaction; at the end the work is committed, or undone by an exception.

        Unless it `shares`, the transaction is for this thread alone.
        """
        member = _Member(shares=shares)
        undo: tuple[str, ...] = ()
        try:
            group = self._enter(member)
            if group is None:
                member.group = group = _Group(begin())
                undo = _WHOLE
            else:
                group.connection.execute("SAVEPOINT member")
                undo = _OWN
            yield group.connection
            if undo is _OWN:
                group.connection.execute("RELEASE member")
        except BaseException as error:
            if self._working is member:
                if member.group is not None:
                    member.group.undo(undo)
                self._leave(member, error)
            raise
        self._leave(member)
        if group.lost is not None:
            raise self._translate(group.lost) from group.lost

    # ── turns ──

    def _enter(self, member: _Member) -> _Group | None:
        """Wait for the turn of a member; return the group that it joins."""
        with self._lock:
            if self._working is None:
                self._working = member
                return None
            if self._working.thread == member.thread:
                raise Busy("this thread is writing to the database already; end that call first")
            self._waiting.append(member)
        try:
            member.turn.acquire()
        except BaseException:
            with self._lock, suppress(ValueError):  # its turn has come meanwhile
                self._waiting.remove(member)
            raise
        return member.group

    def _leave(self, member: _Member, error: BaseException | None = None) -> None:
        """Pass the turn on, and return once the outcome of the group is known, but at once after an interruption."""
        waits = error is None or isinstance(error, Exception)
        try:
            self._pass_on(member, error, waits=waits)
        finally:
            if self._working is member:  # an interruption came first
                self._pass_on(member, error, waits=waits)
        if waits and member.group is not None:
            member.outcome.acquire()

    def _pass_on(self, member: _Member, error: BaseException | None, *, waits: bool) -> None:
        """Pass an open transaction to the next thread, or commit it for all members and let the next one begin."""
        group, interruption = member.group, None
        if group is not None:
            if waits and member not in group.members:
                group.members.append(member)
            if member.shares and group.is_open and len(group.members) < MEMBERS_MAX and self._next(group):
                return
            interruption = group.commit(error, is_alone=group.members == [member])
            try:
                self._end(group)
            finally:
                self._end(group)  # an interruption may end the first call early
        self._next(None)
        if interruption is not None:
            raise interruption

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
            try:
                self._working = following
                self._waiting.popleft()
            finally:
                following.turn.release()
        return True

    def _end(self, group: _Group) -> None:
        """Give the connection back, and tell all members that the outcome is known; do so once."""
        lent, group.lent = group.lent, None
        if lent is not None:
            if group.lost is not None:
                for forget in self.on_lost:
                    forget()
            self._give_back(lent)
        for member in group.members:
            with suppress(RuntimeError):  # known already
                member.outcome.release()
        group.members = []  # no cycle is left for the garbage collector


_fork_safe: WeakSet[GroupCommit] = WeakSet()


def _after_fork() -> None:
    for group_commit in _fork_safe:
        group_commit.after_fork()


os.register_at_fork(after_in_child=_after_fork)
