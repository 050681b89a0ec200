"""Read-only views: what a new session, a session or a deployment sees, now or at a point in the past."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TypeVar

from kedge.errors import InvalidValue, PastUnreadable, UnknownName, nearest
from kedge.model import control as rules
from kedge.model.checks import check_name
from kedge.model.compaction import check_readable
from kedge.model.control import ControlRecord
from kedge.model.lineage import Lineage
from kedge.model.reads import RangeRead
from kedge.model.visibility import View
from kedge.model.writes import Head
from kedge.ports.control import EpochMoved, Snapshot
from kedge.stores.artifacts import Artifacts
from kedge.stores.keyed import KeyedView
from kedge.stores.memory import MemoryView
from kedge.stores.search import SearchesSeveral
from kedge.stores.vectors import VectorsView
from kedge.turns.kernel import Kernel

T = TypeVar("T")
Point = str | int | float | datetime | Snapshot


class ReadView(SearchesSeveral):
    """A view to read through: it influences nobody, and costs no write."""

    def __init__(
        self,
        kernel: Kernel,
        *,
        session: str | None = None,
        deployment: str | None = None,
        point: Point | None = None,
    ) -> None:
        self._kernel = kernel
        self.backend = kernel.backend
        self._session = session
        if session is not None:
            check_name("the session", session)
        self._upto: int | None = None
        self._at: float | None = None
        if point is not None:
            self._upto, self._at = self._resolve(point)
        present = self.backend.control.load()
        record = present if self._upto is None else self.backend.control.record_at(self._upto)
        self._base = self._fixed_base(record, session, deployment) | record.externals
        self._past = None if self._upto is None else record
        self._view = self._view_at(present)
        self.artifacts = Artifacts(self)
        self.memory = MemoryView(self)
        self.context = KeyedView(self, "context", "")

    def _fixed_base(self, record: ControlRecord, session: str | None, deployment: str | None) -> frozenset[int]:
        if session is not None and deployment is not None:
            raise InvalidValue(f"session={session!r} and deployment={deployment!r} exclude each other; give one")
        opened = self._kernel.opened(record, deployment)
        if opened is not None:
            return record.live | record.closure({rules.open_in(record, opened)})
        if session is None:
            return record.live
        if self._upto is None:
            return self._kernel.would_see(record, session)
        fixed = self.backend.control.session(session, self._upto)
        return rules.assign(record, session) if fixed is None else fixed.base

    def _resolve(self, point: Point) -> tuple[int, float]:
        """Return the seq of a point and its time, or raise where it cannot be read any more."""
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
                raise InvalidValue(f"the time {point!r} has no time zone; add one, such as datetime.UTC")
            if point.timestamp() >= last.at:  # what is written from now on has this time at the earliest
                raise PastUnreadable(f"{point.isoformat()} has not come yet; k.view() reads the present")
            seq = control.seq_at(point.timestamp())
            return seq, self._within_horizon(control.load(), seq, point.timestamp(), last.at)
        if isinstance(point, bool) or not isinstance(point, int):
            raise InvalidValue(f"the point {point!r} is no snapshot name, seq or datetime")
        if not 0 <= point <= last.seq:
            raise PastUnreadable(f"seq {point} is not in the journal, which stands at {last.seq}")
        return point, self._within_horizon(control.load(), point, control.time_of(point), last.at)

    def _within_horizon(self, record: ControlRecord, seq: int, at: float, now: float) -> float:
        check_readable(seq, self.backend.control.reclaimed())
        retention = record.retention_seconds
        if retention is not None and at < now - retention:
            horizon = datetime.fromtimestamp(now - retention, UTC).isoformat(timespec="seconds")
            raise PastUnreadable(
                f"seq {seq} lies before the horizon ({horizon}); read at a named snapshot, or raise the retention"
            )
        return at

    def _view_at(self, present: ControlRecord) -> View:
        if self._past is None:
            return View(present.epoch, present.seen_by(self._base), present.settled)
        seen = self._past.seen_by(self._base)
        purged = seen & present.purged
        if purged:
            names = ", ".join(map(repr, sorted(self._kernel.names(purged))))
            raise PastUnreadable(f"this view of seq {self._upto} saw {names}, which was purged since; it is gone")
        return View(present.epoch, seen, self._past.settled, self._upto)

    # ── what the stores use ──

    @property
    def session(self) -> str | None:
        """The session whose memory this view reads."""
        return self._session

    def read(self, look: Callable[[View], T]) -> T:
        """Call `look` with the view, again with a newer one while the control record moves under it."""
        while True:
            if self._upto is not None and self.backend.control.epoch() != self._view.epoch:
                self._view = self._view_at(self.backend.control.load())
            try:
                return look(self._view)
            except EpochMoved:
                self._view = self._view_at(self.backend.control.load())

    def saw(self, heads: Iterable[Head]) -> None:
        """Take no note: a view has no lineage."""

    def saw_range(self, read: RangeRead, lineages: Iterable[Lineage]) -> None:
        """Take no note: a view has no lineage."""

    def names(self, numbers: Iterable[int]) -> frozenset[str]:
        """Return the names of deployments."""
        return self._kernel.names(numbers)

    def now(self) -> float:
        """Return the time that freshness is measured against: the point's, for a past view."""
        return self.backend.clock.now() if self._at is None else self._at

    def was_seen(self, lineage: Lineage) -> bool:
        """Say whether a write of this lineage would be visible, had nothing been rolled back."""
        return lineage <= self._base | self._view.settled

    # ── the public face ──

    @property
    def seen(self) -> frozenset[str]:
        """The names of the revocable deployments that this view sees."""
        present = self._past is None
        view = self._view_at(self.backend.control.load()) if present else self.read(lambda view: view)
        return self._kernel.names(view.seen)

    @property
    def upto(self) -> int | None:
        """The last seq that this view sees, or None for a view of the present."""
        return self._upto

    def documents(self, collection: str) -> KeyedView:
        """Return the documents of a collection."""
        return KeyedView(self, "documents", check_name("the collection", collection))

    def vectors(self, collection: str) -> VectorsView:
        """Return the vectors of a declared collection, or raise `UnknownName`."""
        return VectorsView(self, collection)
