"""State of one fsck run: what the checks know of the database, and what they found."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress

from kedge.model.control import ControlRecord
from kedge.model.lineage import EMPTY, Lineage, antichain
from kedge.model.pruning import Pruned
from kedge.model.states import State, Superseders, minimal
from kedge.support.display import Report, Value, count

SAMPLE_WINDOWS = 40
SAMPLE_WINDOW_SEQS = 100
_FINDINGS_MAX = 100  # of one kind: the rest are only counted

Progress = Callable[[int, int], None]


class Finding(Value, frozen=True):
    """One violated invariant: the kind of thing, where it is, and what is wrong with it."""

    kind: str
    where: str
    message: str


class FsckReport(Report, frozen=True):
    """What was checked, how much of it, and what was found. `full`: all rows; else a sample of large tables.

    `notes` are not damage: Kedge rebuilds what they name.
    """

    full: bool
    findings: tuple[Finding, ...]
    checked: dict[str, int]
    notes: tuple[Finding, ...] = ()

    def __str__(self) -> str:
        """Return the verdict."""
        how = "every row" if self.full else "large tables by samples"
        said = "nothing found"
        if self.findings:
            said = f"{count(len(self.findings), 'finding')}, the first in {self.findings[0].where}"
        return f"fsck, {how}: {said}"

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


class Inspection:
    """One run over one snapshot of a database; a backend's own adds the connection and fills in what is known."""

    def __init__(self, *, full: bool, progress: Progress | None) -> None:
        self.full = full
        self.record = ControlRecord()
        self.erased: frozenset[int] = frozenset()
        self.last_seq = 0
        self.lineages: Mapping[int, Lineage] = {}
        self.spaces: Mapping[int, tuple[str, str]] = {}
        self.states: dict[int, State] = {}
        self.reclaimed_stores: frozenset[str] = frozenset()
        self.pruned = Pruned()
        self._findings: list[Finding] = []
        self._notes: list[Finding] = []
        self._kinds: Counter[str] = Counter()
        self._checked: Counter[str] = Counter()
        self._progress = progress

    # ── what is known ──

    @property
    def whole(self) -> bool:
        """Whether all rows are checked: on request, or because there are few."""
        return self.full or self.last_seq <= SAMPLE_WINDOWS * SAMPLE_WINDOW_SEQS

    def sample(self) -> Iterator[tuple[int, int]]:
        """Yield ranges of seqs, both ends included, spread evenly over the journal, its two ends included."""
        stride = (self.last_seq - SAMPLE_WINDOW_SEQS) / (SAMPLE_WINDOWS - 1)
        for window in range(SAMPLE_WINDOWS):
            first = round(window * stride) + 1
            yield first, first + SAMPLE_WINDOW_SEQS - 1

    def is_erased(self, lineage: int) -> bool:
        """Return whether writes of this lineage were purged, and the purge is complete."""
        return not self.erased.isdisjoint(self.lineages.get(lineage, ()))

    def is_purged(self, lineage: int) -> bool:
        """Return whether writes of this lineage were purged, complete or not."""
        return not self.record.purged.isdisjoint(self.lineages.get(lineage, ()))

    def know_policies(self, details: Iterable[bytes]) -> None:
        """Take over, from the log of the retention, which stores have had a policy at any time."""
        found = set()
        for detail in details:
            with suppress(ValueError, AttributeError):  # the check of the log reports it
                found.add(json.loads(detail).get("store"))
        self.reclaimed_stores = frozenset(store for store in found if isinstance(store, str))

    def may_be_reclaimed(self, space: int, lineage: int, above: Iterable[int]) -> bool:
        """Return whether its store has had a policy, and every view that sees a write sees one of those above it."""
        if self.spaces.get(space, ("",))[0] not in self.reclaimed_stores:
            return False
        decided = self.lineages.get(lineage, frozenset()) | self.record.settled
        return any(self.lineages[other] <= decided for other in above if other in self.lineages)

    def minimal(self, lineages: Iterable[int]) -> set[Lineage]:
        """Return the minimal superseding lineages that decide who sees a row; no view sees what was purged."""
        known = (other for other in lineages if other in self.lineages and not self.is_purged(other))
        return set(minimal((self.lineages[other] for other in known), self.record.settled))

    def are_alike(self, own: int, superseders: Superseders, above: Iterable[int]) -> bool:
        """Return whether the superseders of a state decide like all lineages above rows of this lineage."""
        if superseders is None:
            return True
        lineage = self.lineages.get(own, EMPTY)
        named, true = ({members - lineage for members in self.minimal(some)} for some in (superseders, above))
        return antichain(named) == antichain(true)

    def place(self, space: int, name: object, seq: object = None) -> str:
        """Return how a finding names a write, or a key."""
        store, within = self.spaces.get(space, ("?", f"#{space}"))
        return f"{store}:{within}/{name}" + ("" if seq is None else f" seq {seq}")

    # ── what is found ──

    def report(self, kind: str, where: str, message: str) -> None:
        """Record a violated invariant."""
        self._kinds[kind] += 1
        if self._kinds[kind] <= _FINDINGS_MAX:
            self._findings.append(Finding(kind, where, message))

    def note(self, kind: str, where: str, message: str) -> None:
        """Record something that is not damage: Kedge rebuilds it."""
        self._notes.append(Finding(kind, where, message))

    def count(self, what: str, number: int = 1) -> None:
        """Count things that were checked."""
        self._checked[what] += number

    def report_unreadable(self, check: str, error: Exception) -> None:
        """Record that damaged rows ended a check early."""
        what = check.removeprefix("check_").strip("_")
        self.report("unreadable", what, f"the check of {what} could not be finished: {error}")

    def advance_to(self, done: int, total: int) -> None:
        """Call the progress callback."""
        if self._progress is not None:
            self._progress(done, total)

    def result(self) -> FsckReport:
        """Return the report."""
        more = [
            Finding(kind, "", f"{number - _FINDINGS_MAX} more of this kind")
            for kind, number in self._kinds.items()
            if number > _FINDINGS_MAX
        ]
        checked = dict(sorted(self._checked.items()))
        return FsckReport(self.full, (*self._findings, *more), checked, tuple(self._notes))
