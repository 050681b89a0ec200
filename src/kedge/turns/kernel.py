"""Kernel: one open database with this process's caches and options, shared by turns, deployments and recovery."""

import getpass
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from kedge.errors import IllegalTransition, InvalidValue, ReadOnly, UnknownName
from kedge.model import transitions
from kedge.model.assignment import ANY, SETTING_LISTS, Units, units_of
from kedge.model.checks import check_name, check_seconds
from kedge.model.codec import Codec
from kedge.model.control import ControlRecord, Revocable, Status
from kedge.model.ladder import LevelEntry, decisive
from kedge.model.levels import Level, stricter
from kedge.model.reconcile import DETAIL, moved
from kedge.model.upgrade import FEATURES_SINCE
from kedge.model.visibility import View
from kedge.ports.backend import Backend
from kedge.ports.control import Change, Entry, EpochMoved
from kedge.ports.fleet import Membership
from kedge.ports.reconciler import Reconciler
from kedge.ports.resolver import Resolver
from kedge.turns.artifact_cache import ArtifactCache
from kedge.turns.current import OpenTurns
from kedge.turns.name_check import NameCheck
from kedge.turns.stop_files import StopFiles

T = TypeVar("T")
Caster = Callable[[Any], Any]
Decide = Callable[[ControlRecord], Change]


class Kernel:
    """A backend with the caches and options of this process. Safe to share between threads."""

    def __init__(self, backend: Backend, *, session_ttl: float | None = None) -> None:
        self.backend = backend
        self.session_ttl = check_seconds("session_ttl", session_ttl)
        self._names: dict[int, str] = {}
        self._header_key: bytes | None = None
        self._fence = 0  # the least writer version that the database is known to demand
        self.membership: Membership | None = None  # set while this process is a member
        self.consider_upkeep: Callable[[], None] = _nothing  # called after writes, and by the thread of a member
        self.open_turns = OpenTurns()
        self.artifact_cache = ArtifactCache()
        self.name_check = NameCheck()
        self.codec: Codec | None = None  # of values that JSON cannot hold
        self.casters: dict[tuple[str, int, int], Caster] = {}  # by schema, from version, to version
        self.code: dict[str, str] = {}  # the code that this process runs, by agent, as its opener stated
        self.other_code = "warn"  # policy for turns whose view pins other code: ignore, warn or refuse
        self.standby = "refuse"  # policy for views of the present on a standby: refuse, or stale
        self.warned: set[str] = set()
        self._lists: dict[tuple[int, int], Units] = {}  # by deployment, and the epoch that set them
        self.peers: dict[str, tuple[int, int]] = {}  # by unsigned peer: an epoch, and its deployment as of then
        self.resolvers: dict[str, Resolver] = {}  # those that this process can ask, by name
        self.reconcilers: dict[str, Reconciler] = {}  # those that this process can run, by name
        self.stop_files = StopFiles()  # those of this host

    def level(
        self,
        record: ControlRecord,
        feature: str | None = None,
        *,
        session: str | None = None,
        tool: str | None = None,
        seen: frozenset[int] = frozenset(),
    ) -> Level:
        """Return the strictest level of the entries of a record, and of this host's stop files, that match."""
        stopped = self.stopped(record, feature, session=session, tool=tool, seen=seen)
        recorded = record.level(feature, session=session, tool=tool, seen=seen)
        return recorded if stopped is None else stricter(recorded, stopped.level)

    def stopped(
        self,
        record: ControlRecord,
        feature: str | None = None,
        *,
        session: str | None = None,
        tool: str | None = None,
        seen: frozenset[int] = frozenset(),
    ) -> LevelEntry | None:
        """Return the strictest entry of this host's stop files that matches, without the database.

        They name deployments, which a record knows until they are settled.
        """
        entries = self.stop_files.entries
        if not entries:
            return None
        names = [d.name for d in record.deployments if d.number in seen]
        return decisive(entries, feature=feature, session=session, tool=tool, deployments=names)

    def translations(self, schema: str) -> list[tuple[int, int]]:
        """Return the pairs of versions (from, to) of a schema that this process can translate."""
        return [(start, end) for name, start, end in self.casters if name == schema]

    @property
    def header_key(self) -> bytes:
        """The key that signs this database's headers."""
        if self._header_key is None:
            self._header_key = self.backend.control.secret("header_key")
        return self._header_key

    def lists_of(self, record: ControlRecord) -> dict[int, Units]:
        """Return the allow- and deny-lists of a record's canaries and of its live deployments with a holdback."""
        return {
            deployment.number: self.units_of(deployment)
            for deployment in record.deployments
            if deployment.lists and (deployment.holdback or deployment.status is Status.CANARY)
        }

    def units_of(self, deployment: Revocable) -> Units:
        """Return the allow- and deny-lists of a deployment, which the log keeps."""
        if not deployment.lists:
            return ANY
        key = deployment.number, deployment.lists
        if key not in self._lists:
            entries = self.backend.control.entries_of((deployment.name,), SETTING_LISTS)
            self._lists[key] = next(units_of(e.detail) for e in entries if e.epoch == deployment.lists)
        return self._lists[key]

    def check_fence(self, what: str, since: int = FEATURES_SINCE) -> None:
        """Raise `IllegalTransition` where older processes, which can still write, would not understand something."""
        if not self.has_fence(since):
            raise IllegalTransition(
                f"cannot use {what} yet: {self.backend.url} still admits processes of older versions, which would lose "
                "or misread it; run `kedge upgrade` first"
            )

    def has_fence(self, since: int) -> bool:
        """Return whether the database refuses writers before a version."""
        if self._fence < since:  # it is never lowered
            self._fence = self.backend.upgrade.state().min_writer
        return self._fence >= since

    def check_present(self) -> None:
        """Raise `ReadOnly` where views of the present could miss a rollback that has returned."""
        if self.standby == "refuse" and self.backend.is_standby:
            raise ReadOnly(
                f"{self.backend.url} is a standby, now at epoch {self.backend.control.epoch()}: it may lag behind a "
                "rollback, so it shows no view of the present; read the primary, read here at a snapshot or an "
                "earlier seq, or open it with standby='stale'"
            )

    def record(self) -> ControlRecord:
        """Return the record to pin a view to; a member has it without I/O until it hears of a newer epoch."""
        known, membership = self.backend.control.known(), self.membership
        if (
            known is not None
            and membership is not None
            and membership.epoch is not None
            and known.epoch >= membership.heard
        ):
            return known
        return self.backend.control.load()

    def names(self, numbers: Iterable[int]) -> frozenset[str]:
        """Return the names of deployments, settled and purged ones included."""
        wanted = frozenset(numbers)
        missing = wanted.difference(self._names)
        if missing:
            self._names |= self.backend.control.names(missing)
        return frozenset(self._names.get(number, f"#{number}") for number in wanted)

    def change(self, decide: Decide) -> tuple[ControlRecord, Entry]:
        """Commit what `decide` makes of the newest record; decide again after each concurrent commit."""
        while True:
            try:
                before = self.backend.control.load()
                change = decide(before)
                check_reason(change.reason)
                followed = moved(before, change.record)
                if followed:  # recovery after a crash reads it from the log
                    change = msgspec.structs.replace(change, detail=change.detail | {DETAIL: followed})
                entry = self.backend.control.commit(change)
            except EpochMoved:
                continue
            known = self.backend.control.known()  # what is derived of it is shared with the record before
            return change.record if known is None or known.epoch != change.record.epoch else known, entry

    def read_present(self, look: Callable[[View], T], view: View) -> T:
        """Call `look` with a view of what is live; call it again with a newer view each time it raises `EpochMoved`."""
        while True:
            try:
                return look(view)
            except EpochMoved:
                record = self.backend.control.load()
                view = View(record.epoch, record.live, record.settled)

    def find(self, record: ControlRecord, name: str, verb: str) -> Revocable:
        """Return a revocable deployment to `verb`; raise `IllegalTransition` for one that is settled or purged."""
        try:
            return self.revocable(record, name)
        except UnknownName:
            number = self.backend.control.number_of(name)
            if number is None:
                raise
            status = Status.PURGED if number in record.purged else Status.SETTLED
            raise transitions.illegal(name, status, verb) from None

    def revocable(self, record: ControlRecord, name: str) -> Revocable:
        """Return a revocable deployment or peer by name, or raise `UnknownName`."""
        try:
            return record.find(name)
        except UnknownName:
            number = self.backend.control.number_of(name) if record.peers else None
            if number not in record.peers:
                raise
            return record.peer(number, name)

    def openable(self, record: ControlRecord, name: str | None) -> str | None:
        """Return the deployment to open a turn or view in; None for one that every view sees: settled, or a peer."""
        opened = frozenset() if name is None else self.base_of(record, name)
        return name if opened - record.externals else None

    def base_of(self, record: ControlRecord, name: str) -> frozenset[int]:
        """Return the number of a deployment to rest on, or to open a turn or view in; nothing for a settled one."""
        try:
            found = self.find(record, name, "open a turn in")
        except IllegalTransition:
            if self.backend.control.number_of(name) in record.settled:
                return frozenset()
            raise
        if found.number in record.rolled_back:
            raise transitions.illegal(name, Status.ROLLED_BACK, "open a turn in")
        return frozenset({found.number})


def _nothing() -> None:
    """Do nothing."""


def actor(by: str | None) -> str:
    """Return who makes a control call: `by`, or the user of this process."""
    if by is not None:
        return check_name("by", by)
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def check_reason(reason: object) -> None:
    """Raise `InvalidValue` unless a reason is text that can be stored."""
    if not isinstance(reason, str) or (not reason.isascii() and any("\ud800" <= c <= "\udfff" for c in reason)):
        raise InvalidValue(f"invalid reason {reason!r:.80}: must be a string of valid Unicode")
