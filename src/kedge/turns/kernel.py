"""One open database with what this process knows of it: shared by turns, views, deployments and recovery."""

import getpass
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from kedge.errors import IllegalTransition, InvalidValue, UnknownName
from kedge.model import control as rules
from kedge.model.checks import check_name
from kedge.model.control import ControlRecord, Revocable, Status
from kedge.model.reconcile import DETAIL, moved
from kedge.model.visibility import View
from kedge.ports.backend import Backend
from kedge.ports.control import Change, Entry, EpochMoved
from kedge.ports.fleet import Membership
from kedge.ports.reconciler import Reconciler
from kedge.turns.artifact_cache import ArtifactCache

T = TypeVar("T")
Caster = Callable[[Any], Any]
Decide = Callable[[ControlRecord], Change]


class Kernel:
    """A backend, and the small caches and options that go with it. Safe to share between threads."""

    def __init__(self, backend: Backend, *, session_ttl: float | None = None) -> None:
        self.backend = backend
        self.session_ttl = session_ttl
        self._names: dict[int, str] = {}
        self._header_key: bytes | None = None
        self.membership: Membership | None = None  # set while this process is a member
        self.artifact_cache = ArtifactCache()
        self.casters: dict[tuple[str, int, int], Caster] = {}  # by schema, from version, to version
        self.code: dict[str, str] = {}  # what this process says that it runs, by agent
        self.other_code = "warn"  # what becomes of turns whose view pins another
        self.warned: set[str] = set()
        self.reconcilers: dict[str, Reconciler] = {}  # those that this process can work, by name

    def edges(self, schema: str) -> list[tuple[int, int]]:
        """Return from which versions of a schema to which this process can translate."""
        return [(start, end) for name, start, end in self.casters if name == schema]

    @property
    def header_key(self) -> bytes:
        """The key that signs this database's headers."""
        if self._header_key is None:
            self._header_key = self.backend.control.secret("header_key")
        return self._header_key

    def record(self) -> ControlRecord:
        """Return the record to pin a view to: a member knows it without I/O, until it hears of a newer one."""
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
        """Return the names of deployments, whatever became of them."""
        found = set()
        for number in numbers:
            if number not in self._names:
                self._load_names()
            found.add(self._names.get(number, f"#{number}"))
        return frozenset(found)

    def _load_names(self) -> None:
        self._names = self.backend.control.names()

    def change(self, decide: Decide) -> tuple[ControlRecord, Entry]:
        """Decide on the record as it is, and commit; decide anew while others commit in between."""
        while True:
            try:
                before = self.backend.control.load()
                change = decide(before)
                _check_reason(change.reason)
                followed = moved(before, change.record)
                if followed:  # whoever goes on with this operation after a crash must know of it
                    change = msgspec.structs.replace(change, detail=change.detail | {DETAIL: followed})
                return change.record, self.backend.control.commit(change)
            except EpochMoved:
                continue

    def read_present(self, look: Callable[[View], T], view: View) -> T:
        """Call `look` with a view of what is live, again with a newer one while the control record moves."""
        while True:
            try:
                return look(view)
            except EpochMoved:
                record = self.backend.control.load()
                view = View(record.epoch, record.live, record.settled)

    def find(self, record: ControlRecord, name: str, verb: str) -> Revocable:
        """Return a revocable deployment to `verb`; raise `IllegalTransition` for one that is settled or purged."""
        try:
            return record.find(name)
        except UnknownName:
            number = next((number for number, known in self.backend.control.names().items() if known == name), None)
            if number is None:
                raise
            status = Status.PURGED if number in record.purged else Status.SETTLED
            raise rules.illegal(name, status, verb) from None

    def opened(self, record: ControlRecord, name: str | None) -> str | None:
        """Return the deployment to open something in: None where it is settled, for then everybody sees it."""
        if name is None:
            return None
        try:
            return self.find(record, name, "open a turn in").name
        except IllegalTransition:
            if name in self.names(record.settled):
                return None
            raise


def actor(by: str | None) -> str:
    """Return who a control call is by: as given, or the user of this process."""
    if by is not None:
        return check_name("by", by)
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _check_reason(reason: object) -> None:
    if not isinstance(reason, str) or (not reason.isascii() and any("\ud800" <= c <= "\udfff" for c in reason)):
        raise InvalidValue(f"the reason {reason!r:.80} is no text; say why in a string")
