"""Read-only views of a new session, a session or a deployment, now or at a point in the past."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from kedge.errors import InvalidValue, NoSession, PastUnreadable, UnknownName, nearest
from kedge.model import assignment
from kedge.model.checks import check_name
from kedge.model.codec import Codec
from kedge.model.control import ControlRecord
from kedge.model.lineage import Lineage
from kedge.model.numbers import as_plain
from kedge.model.reads import RangeRead
from kedge.model.visibility import View
from kedge.model.writes import Head
from kedge.ports.control import EpochMoved, Snapshot
from kedge.stores.artifacts import Artifacts
from kedge.stores.keyed import KeyedView
from kedge.stores.memory import MemoryView
from kedge.stores.own import StoreView
from kedge.stores.scope import Scope
from kedge.stores.search import SearchingMany
from kedge.stores.vectors import VectorsView
from kedge.support.display import brief
from kedge.support.user_warnings import warn_user
from kedge.turns import current, session_assignment
from kedge.turns.kernel import Kernel

T = TypeVar("T")
_UNTRACKED = "untracked read"
Point = str | int | float | datetime | Snapshot


class UntrackedReadWarning(UserWarning):
    """A view that leaves no lineage was read inside a turn."""


class ViewingScope(Scope, Protocol):
    """What a view reads through: a scope of its own, or a turn's."""

    @property
    def upto(self) -> int | None:
        """The last seq that is seen, or None for the present."""

    @property
    def label(self) -> str:
        """What is viewed: "session:NAME", "deployment:NAME", "new session" or "now"."""

    def seen(self) -> frozenset[int]:
        """Return the revocable deployments that are visible now."""

    def saw(self) -> frozenset[int]:
        """Return the deployments that may have been read: those visible at some time since it was opened."""


class ViewScope:
    """What a view reads through: it keeps no lineage and writes nothing. `upto` is None for the present."""

    def __init__(
        self,
        kernel: Kernel,
        session: str | None,
        deployment: str | None,
        point: Point | None,
        *,
        whole_canaries: bool = False,
        everything: bool = False,
    ) -> None:
        self._kernel = kernel
        self._whole_canaries = whole_canaries
        self._everything = everything
        self.backend = kernel.backend
        self.session = session
        if session is not None:
            check_name("the session", session)
        self.label = "new session" if whole_canaries else "now"
        if session is not None or deployment is not None:
            self.label = f"deployment:{deployment}" if session is None else f"session:{session}"
        self.upto: int | None = None
        self._at: float | None = None
        if point is None:
            kernel.check_present()
        else:
            self.upto, self._at = self._resolve(point)
        present = self.backend.control.load()
        record = present if self.upto is None else self.backend.control.record_at(self.upto)
        self._base = self._fixed_base(record, session, deployment) | record.externals
        self._past = None if self.upto is None else record
        self._saw: set[int] = set()
        self._view = self._view_at(present)

    @property
    def codec(self) -> Codec | None:
        """The codec of values that JSON cannot hold, if this process has one."""
        return self._kernel.codec

    def _fixed_base(self, record: ControlRecord, session: str | None, deployment: str | None) -> frozenset[int]:
        if session is not None and deployment is not None:
            raise InvalidValue(f"session={session!r} and deployment={brief(deployment)} exclude each other; give one")
        if self._everything:
            if deployment is not None:
                raise InvalidValue(f"everything=True and deployment={brief(deployment)} exclude each other; give one")
            return record.peers.union(record.by_number)
        opened = self._kernel.openable(record, deployment)
        if opened is not None:
            return record.live | record.closure({assignment.open_in(record, opened)})
        if session is None:
            return assignment.assign_any(record) if self._whole_canaries else record.live
        if self.upto is None:
            return session_assignment.preview(self._kernel, record, session)
        return session_assignment.past(self._kernel, record, session, self.upto)

    def _resolve(self, point: Point) -> tuple[int, float]:
        """Return the seq and time of a point, or raise where it cannot be read."""
        control = self.backend.control
        last = control.position()
        if isinstance(point, Snapshot):
            point = point.name
        if isinstance(point, str):
            snapshots = control.snapshots()
            found = next((s for s in snapshots if s.name == point), None)
            if found is None:
                known = [s.name for s in snapshots]
                raise UnknownName(f"no snapshot is named {point!r}{nearest(point, known)}; `kedge snapshot` lists them")
            return found.seq, found.at
        if isinstance(point, datetime):
            if point.tzinfo is None:
                raise InvalidValue(f"invalid time {point!r}: must have a time zone, such as datetime.UTC")
            if point.timestamp() >= last.at:  # later writes may still get this time
                raise PastUnreadable(f"{point.isoformat()} is in the future; k.view() reads the present")
            seq = control.seq_at(point.timestamp())
            return seq, self._within_horizon(control.load(), seq, point.timestamp(), last.at)
        point = as_plain(point)
        if isinstance(point, bool) or not isinstance(point, int):
            raise InvalidValue(f"invalid point {brief(point)}: must be a snapshot's name, a seq or a datetime")
        if not 0 <= point <= last.seq:
            where = " that this standby has for certain" if self.backend.is_standby else ""
            raise PastUnreadable(f"seq {point} is not in the journal; its last seq{where} is {last.seq}")
        return point, self._within_horizon(control.load(), point, control.time_of(point), last.at)

    def _within_horizon(self, record: ControlRecord, seq: int, at: float, now: float) -> float:
        retention = record.retention_seconds
        now = min(now, self.backend.clock.now())  # an entry of a clock that was ahead does not move the horizon
        if retention is not None and at < now - retention:
            horizon = datetime.fromtimestamp(now - retention, UTC).isoformat(timespec="seconds")
            raise PastUnreadable(
                f"seq {seq} is before the horizon ({horizon}); read at a named snapshot, or raise the retention"
            )
        return at

    def _view_at(self, present: ControlRecord) -> View:
        seen = (self._past or present).seen_by(self._base)
        self._saw |= seen
        if self._past is None:
            return View(present.epoch, seen, present.settled)
        purged = seen & present.purged
        if purged:
            names = ", ".join(map(repr, sorted(self._kernel.names(purged))))
            raise PastUnreadable(
                f"this view of seq {self.upto} saw {names}, which was purged since; read at another point"
            )
        return View(present.epoch, seen, self._past.settled, self.upto)

    def read(self, look: Callable[[View], T]) -> T:
        """Call `look` with the view; call it again with a newer view each time it raises `EpochMoved`.

        In the past, a purge may take away what `look` reads: then it is called again, to raise `PastUnreadable`.
        """
        self._warn_inside_a_turn()
        while True:
            try:
                found = look(self._view)
            except EpochMoved:
                pass
            except Exception:
                if not self._is_overtaken():
                    raise
            else:
                if not self._is_overtaken():
                    return found
            self._view = self._view_at(self.backend.control.load())

    def _is_overtaken(self) -> bool:
        """Return whether the record has changed since a view of the past was made; a purge erases only after that."""
        return self.upto is not None and self.backend.control.epoch() != self._view.epoch

    @property
    def memory_space(self) -> str:
        """The space of the session's memory, or raise `NoSession`."""
        if self.session is None:
            raise NoSession("this view has no session, and memory belongs to sessions; give session= to k.view or k.at")
        return self.session

    def _warn_inside_a_turn(self) -> None:
        """Warn once where a turn of this database is current: what is read here leaves no lineage in it."""
        if _UNTRACKED not in self._kernel.warned and current.is_inside(self._kernel):
            self._kernel.warned.add(_UNTRACKED)
            warn_user(
                "a view of k.view() or k.at() was read inside a turn, and leaves no lineage in it: what the turn "
                "writes from it would survive a rollback; read through the turn, or through turn.view()",
                UntrackedReadWarning,
            )

    def record_read(self, heads: Iterable[Head]) -> None:
        """Do nothing: a view has no lineage."""

    def record_range(self, read: RangeRead, lineages: Iterable[Lineage]) -> None:
        """Do nothing: a view has no lineage."""

    def record_pin(self, name: str, seq: int) -> None:
        """Do nothing: a view caches no results."""

    def record_pins(self, prefix: str, seqs: list[int]) -> None:
        """Do nothing: a view caches no results."""

    def names(self, numbers: Iterable[int]) -> frozenset[str]:
        """Return the names of deployments."""
        return self._kernel.names(numbers)

    def now(self) -> float:
        """Return the time that freshness is measured against: for a past view, the time of its point."""
        return self.backend.clock.now() if self._at is None else self._at

    def view_time(self) -> float:
        """Return the time that this scope reads at: now, or that of its point in the past."""
        return self.now()

    def was_visible(self, lineage: Lineage) -> bool:
        """Return whether a write of this lineage would be visible if nothing had been rolled back."""
        return lineage <= self._base | self._view.settled

    def seen(self) -> frozenset[int]:
        """Return the revocable deployments that are visible now."""
        present = self._past is None
        view = self._view_at(self.backend.control.load()) if present else self.read(lambda view: view)
        return view.seen

    def saw(self) -> frozenset[int]:
        """Return the deployments that may have been read: those visible at some time since it was opened."""
        self.seen()
        return frozenset(self._saw)


class ReadView(SearchingMany):
    """A read-only view. Reading through it writes nothing and leaves no lineage, except in a view of `turn.view()`."""

    _scope: ViewingScope

    def __init__(self, scope: ViewingScope) -> None:
        self._scope = scope
        self.artifacts = Artifacts(scope)
        self.memory = MemoryView(scope)
        self.context = KeyedView(scope, "context", "")

    def __repr__(self) -> str:
        """Return what this view is of, without reading anything."""
        of = "" if self.session is None else f" session={brief(self.session)}"
        return f"<ReadView{of}{'' if self.upto is None else f' upto={self.upto}'}>"

    @property
    def session(self) -> str | None:
        """The session whose memory this view reads, or None."""
        return self._scope.session

    @property
    def seen(self) -> frozenset[str]:
        """The names of the revocable deployments that this view sees."""
        return self._scope.names(self._scope.seen())

    @property
    def upto(self) -> int | None:
        """The last seq that this view sees, or None for a view of the present."""
        return self._scope.upto

    def documents(self, collection: str) -> KeyedView:
        """Return the documents of a collection."""
        return KeyedView(self._scope, "documents", check_name("the collection", collection))

    def store(self, name: str) -> StoreView:
        """Return a keyed store of your own: `view.store("checkpoints").space("thread-1")`."""
        return StoreView(self._scope, name)

    def vectors(self, collection: str) -> VectorsView:
        """Return the vectors of a declared collection, or raise `UnknownName`."""
        return VectorsView(self._scope, collection)


def open_view(
    kernel: Kernel,
    *,
    session: str | None = None,
    deployment: str | None = None,
    point: Point | None = None,
    whole_canaries: bool = False,
    everything: bool = False,
) -> ReadView:
    """Return a view of what is live, of a session or of a deployment, of the present or at a point in the past.

    With `whole_canaries`, the first also sees the canaries that every new session joins. One of `everything` sees all
    deployments that are not rolled back, whatever its session sees.
    """
    return ReadView(ViewScope(kernel, session, deployment, point, whole_canaries=whole_canaries, everything=everything))
