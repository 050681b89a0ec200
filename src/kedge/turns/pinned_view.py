"""Pinned view of a turn: which deployments it sees, how far it has caught up, and what ends it."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from kedge.errors import KedgeError, SettledMeanwhile, TurnClosed
from kedge.model.control import ControlRecord
from kedge.model.ladder import LevelEntry
from kedge.model.levels import Level, stricter, strictness
from kedge.model.turns import Ends, moved
from kedge.model.visibility import View
from kedge.model.writes import Author
from kedge.ports.control import EpochMoved
from kedge.support.fork_lock import ForkSafeLock
from kedge.turns.begin import TurnStart
from kedge.turns.kernel import Kernel
from kedge.turns.replaying import Replays
from kedge.turns.turn_log import TurnLog

T = TypeVar("T")
moving = ForkSafeLock()  # held while a turn moves its view, never over I/O


class PinnedView:
    """The view of one turn, and its author. A newer control record narrows the view, or ends the turn."""

    upto: None = None  # a turn's view is of the present

    def __init__(
        self, kernel: Kernel, start: TurnStart, *, agent: str | None, person: str | None, replays: Replays | None
    ) -> None:
        self._kernel = kernel
        self.backend = kernel.backend
        self.record = start.record
        self.base = start.base | start.record.externals
        self._rank = None if replays is None else replays.rank
        self.view = View(self.record.epoch, self.record.seen_by(self.base), self.record.settled, upto_rank=self._rank)
        now = self.backend.clock.now()
        self.author = Author(
            uid=self.backend.clock.fresh_id(),
            agent=agent,
            person=person,
            session=start.session,
            parent=start.parent,
            replays=None if replays is None else replays.seq,
            began_at=now,
            began_epoch=self.record.epoch,
            seen=self.view.seen - self.record.externals,
        )
        self.log = TurnLog(self.author, start.lineage)
        self._given = start.lineage
        self._levels = _Levels(self.record, self.view, {})
        self.continues = start.continues  # where a deployment that it does not see is settled
        self._is_begun = False
        self._is_used = False  # it has read, written, or taken part in what another turn did
        self._looks: set[object] = set()  # those that have begun, until it is used
        self._closed = False
        self._ended: KedgeError | None = None

    # ── reading through it ──

    def read(self, look: Callable[[View], T]) -> T:
        """Call `look` with the view; call it again with a newer view each time it raises `EpochMoved`."""
        return self._read(look, None if self._is_used or not self._is_begun else object())

    def _read(self, look: Callable[[View], T], use: object = None) -> T:
        """Read as `read` does; where `use` is given, it counts as use of the turn."""
        while True:
            if self._closed or self._ended is not None:
                self.check_open()
            if self._kernel.membership is not None:
                self._kernel.membership.check()
            if use is not None:
                self._looks.add(use)
            try:
                found = look(self.view)
            except EpochMoved:
                self._looks.discard(use)
                self.catch_up()
                continue
            if use is not None:
                self._is_used = True
            return found

    def read_current(self, look: Callable[[View], T]) -> T:
        """Call `look` as `read` does, with a view of the store's newest epoch."""

        def current(view: View) -> T:
            self._check_epoch(view.epoch)
            return look(view)

        return self.read(current)

    def _check_epoch(self, epoch: int) -> None:
        if self.backend.control.epoch() != epoch:
            raise EpochMoved("the level may have changed")

    def seen(self) -> frozenset[int]:
        """Return the revocable deployments that the turn sees."""
        return self.view.seen

    def saw(self) -> frozenset[int]:
        """Return the deployments that it may have read; where one was rolled back that it read, raise."""
        return self.author.seen | self.read_current(lambda view: view.seen)

    # ── what moves it and what ends it ──

    def check_open(self) -> None:
        """Raise `TurnClosed` if the turn is closed, or the error that ended it."""
        if self._ended is not None:
            raise self._ended
        if self._closed:
            raise TurnClosed(f"this turn ({self.author.uid}) is closed; begin another with k.turn()")

    def check_not_rolled_back(self) -> None:
        """Raise as `check_open` does, except where a settle has ended the turn; raise where the lease has run out."""
        if not isinstance(self._ended, SettledMeanwhile):
            self.check_open()
        elif self._closed:
            raise TurnClosed(f"this turn ({self.author.uid}) is closed; begin another with k.turn()")
        if self._kernel.membership is not None:
            self._kernel.membership.check()

    @property
    def is_open(self) -> bool:
        """Whether the turn has not ended."""
        return not self._closed and self._ended is None

    @property
    def is_closed(self) -> bool:
        """Whether the turn was closed: a turn that a rollback or a settle has ended need not be."""
        return self._closed

    def catch_up(self, record: ControlRecord | None = None) -> None:
        """Move the view to the newest control record; raise, and end the turn, where that record ends it."""
        loaded = record or self.backend.control.load()
        with moving.here:
            before = self.view.settled
            if loaded.epoch > self.record.epoch:  # else another thread has loaded a newer one meanwhile
                self.record = loaded
            while True:
                influences = self.log.lineage
                continues = self.continues or self._is_unused()
                found = moved(self.view, self.base, influences, self.record, continues=continues)
                if isinstance(found, Ends):
                    break
                self.view = found
                if self.log.lineage == influences:  # else another thread has read something else meanwhile
                    break
        if isinstance(found, Ends):
            self._ended = found.error(self._kernel.names)
            raise self._ended
        if found.settled - before - self.base:
            self._see_more()

    def begun(self) -> None:
        """Say that the turn has begun: what it reads from now on is use."""
        self._is_begun = True

    def use(self) -> None:
        """Say that another turn has taken on what this one has read, or the reverse."""
        with moving.here:
            self._is_used = True

    def _is_unused(self) -> bool:
        """Return whether nothing has been read yet, so that the turn may as well begin now."""
        return not self._is_used and not self._looks

    def _see_more(self) -> None:
        """Read again what a turn reads as it begins: its view sees what was settled since."""

    def _check_influences(self) -> None:
        """End the turn if what was read was rolled back, and another thread has moved the view, since it was read."""
        if not self.log.is_seen_by(self.view):
            self.catch_up()

    def _widen(self, externals: frozenset[int]) -> None:
        """See these deployments, too: untrusted peers, which every view sees."""
        with moving.here:
            self.base |= externals

    # ── the level ──

    def level(self, tool: str | None = None) -> Level:
        """Return the strictest level of all that concerns this turn now; a member need not ask the store."""
        membership, stopped = self._kernel.membership, self._stopped(tool)
        if stopped is not None and stopped.level is Level.OFF:  # whatever the database says, if it answers
            self.check_open()
            return Level.OFF
        if membership is None:
            return self.read_current(lambda _: self.known_level(tool))
        if self._closed or self._ended is not None:
            self.check_open()
        epoch, known = membership.epoch, self.backend.control.known()
        if epoch is None:
            return stricter(membership.safe_level, self.known_level(tool))
        if epoch > self.view.epoch or (known is not None and known.epoch > self.view.epoch):
            self.catch_up()
        return self.known_level(tool)

    def known_level(self, tool: str | None = None) -> Level:
        """Return the level by the record that this turn knows, and by the stop files of this host."""
        record, view, stopped = self.record, self.view, self._stopped(tool)
        local = Level.FULL if stopped is None else stopped.level
        if not record.entries:
            return local
        known = self._levels
        if known.record is not record or known.view is not view:
            known = self._levels = _Levels(record, view, {})
        if tool not in known.by_tool:
            known.by_tool[tool] = record.level(**self._asked(tool))
        return stricter(local, known.by_tool[tool])

    def decisive_entry(self, tool: str | None = None) -> LevelEntry | None:
        """Return the entry that makes the level what it is, if one does."""
        found = (self._stopped(tool), self.record.decisive(**self._asked(tool)))
        return max(filter(None, found), key=lambda entry: strictness(entry.level), default=None)

    def _stopped(self, tool: str | None) -> LevelEntry | None:
        if not self._kernel.stop_files.entries:
            return None
        return self._kernel.stopped(self.record, **self._asked(tool))

    def _asked(self, tool: str | None) -> dict[str, Any]:
        author = self.author
        return {"feature": author.agent, "session": author.session, "tool": tool, "seen": self.view.seen}


class _Levels(NamedTuple):
    """Levels by tool, as one record and one view have them."""

    record: ControlRecord
    view: View
    by_tool: dict[str | None, Level]
