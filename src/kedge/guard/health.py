"""Health of a database and its fleet: what is not as the control record says, by checks that are each quick.

A rollback that has reached only a part of the fleet, the external systems or the writers is ill health. So is what
nobody has looked at: a check that fails to look is a finding of its own.
"""

from collections.abc import Callable, Iterator
from enum import StrEnum

from kedge.guard import quality
from kedge.guard.declaring import declared
from kedge.guard.health_rules import (
    CHANGES_LOOKED_AT,
    Finding,
    Severity,
    drill_finding,
    judge_members,
    late_writes,
    level_findings,
    unfinished_finding,
)
from kedge.guard.state_gates import drill_state
from kedge.model.control import ControlRecord, Status
from kedge.ports.control import Entry
from kedge.ports.impact import Arrival
from kedge.recovery.rollback import COMMIT, open_work
from kedge.support.display import Report, count
from kedge.turns.kernel import Kernel

WINDOW_SECONDS = 600.0
QUALITY_SECONDS = 3_600.0
WRITES_LOOKED_AT = 20_000
ARRIVALS_MAX = 100


class State(StrEnum):
    """The verdict: healthy, ill, or unknown: nothing was found, and not everything was looked at."""

    HEALTHY = "healthy"
    ILL = "ill"
    UNKNOWN = "unknown"


class Health(Report, frozen=True):
    """What was looked at (`checks`, by name, with its worst severity or "ok"), and what was found, the worst first.

    It is `ok` where nothing is ill, and every check was able to look. Warnings do not count.
    """

    at: float
    epoch: int | None
    checks: dict[str, str]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is ill, and everything was looked at."""
        return self.state is State.HEALTHY

    @property
    def state(self) -> State:
        """The verdict. What is ill counts more than what is not known."""
        found = {finding.severity for finding in self.findings}
        if Severity.ILL in found:
            return State.ILL
        return State.UNKNOWN if Severity.UNKNOWN in found or not self.checks else State.HEALTHY

    def __str__(self) -> str:
        """Return the verdict."""
        counts = [
            count(number, str(severity))
            for severity in Severity
            if (number := sum(finding.severity is severity for finding in self.findings))
        ]
        found = f": {', '.join(counts)}" if counts else f": {count(len(self.checks), 'check')}, nothing found"
        return f"{self.state}{found}"


class _Facts:
    """What the checks share, read once."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.record: ControlRecord = kernel.backend.control.load()
        self.now = kernel.backend.clock.now()


Check = Callable[[_Facts], Iterator[Finding]]


def health(kernel: Kernel) -> Health:
    """Look at everything, and return what was found. A check that raises is a finding: not everything is known then."""
    facts = _Facts(kernel)
    return _looked(facts, CHECKS)


def _looked(facts: _Facts, checks: dict[str, Check]) -> Health:
    findings: list[Finding] = []
    done: dict[str, str] = {}
    for name, check in checks.items():
        try:
            found = list(check(facts))
        except Exception as error:  # noqa: BLE001 - whatever keeps a check from looking, it is not known to be healthy
            why = f"{type(error).__name__}: {error}"
            found = [Finding(name, Severity.UNKNOWN, f"not looked at: {why}", None, "run it again; then `kedge fsck`")]
        findings += found
        done[name] = str(min((finding.severity for finding in found), key=_rank, default="ok"))
    ordered = sorted(findings, key=lambda finding: _rank(finding.severity))
    return Health(facts.now, facts.record.epoch, done, tuple(ordered))


def _rank(severity: Severity) -> int:
    return list(Severity).index(severity)


# ── the checks ──


def _database(facts: _Facts) -> Iterator[Finding]:
    backend = facts.kernel.backend
    moved = backend.control.moved_to()
    if moved is not None:
        yield Finding("database", Severity.ILL, f"this database was moved to {moved}", None, "use the new address")
    if backend.is_standby:
        what = f"this is a standby at epoch {facts.record.epoch}: it may lag behind its primary"
        yield Finding("database", Severity.WARNING, what, None, "ask the primary")
    if not backend.upgrade.state().is_current:
        what = "an upgrade is not finished: processes of older versions can still write"
        yield Finding("database", Severity.WARNING, what, None, "run `kedge upgrade`")


def _members(facts: _Facts) -> Iterator[Finding]:
    members = facts.kernel.backend.fleet.members()
    behind = [member for member in members if member.epoch < facts.record.epoch]
    changes: list[Entry] = []
    if behind:
        changes = facts.kernel.backend.control.entries(limit=CHANGES_LOOKED_AT)
    yield from judge_members(members, changes, facts.record.epoch, facts.now)


def _operations(facts: _Facts) -> Iterator[Finding]:
    """Report changes that are not finished, and external systems that did not follow them."""
    for entry, wanted in open_work(facts.kernel):
        yield unfinished_finding(entry, wanted, facts.now)


def _writers(facts: _Facts) -> Iterator[Finding]:
    """Report hidden writes that still arrive, among the newest 20,000 writes of the last ten minutes."""
    backend, record = facts.kernel.backend, facts.record
    hidden = record.rolled_back - record.purged
    if not hidden:
        return
    control, impact = backend.control, backend.impact
    after = max(control.seq_at(facts.now - WINDOW_SECONDS), control.position().seq - WRITES_LOOKED_AT)
    found = impact.arrivals(impact.lineages_with(hidden), after, ARRIVALS_MAX)
    if not found:
        return
    names = facts.kernel.names(hidden)
    rolled_back: dict[str, Entry] = {}
    for entry in control.entries_of(names, (COMMIT,)):
        for name in {entry.deployment or "", *entry.detail.get("names", ())} & names:
            rolled_back.setdefault(name, entry)
    for name, entry in sorted(rolled_back.items()):
        number = control.number_of(name)
        lineages = set(impact.lineages_with([number])) if number is not None else set()
        late = late_writes([arrival for arrival in found if arrival.lineage in lineages], entry)
        if late:
            yield _late(facts, name, entry, late)


def _late(facts: _Facts, name: str, entry: Entry, late: list[Arrival]) -> Finding:
    writers = facts.kernel.backend.provenance.writers_of([arrival.seq for arrival in late])
    agents = sorted({turn.agent or turn.person or "an unnamed turn" for turn in writers.values()})
    least = "at least " if len(late) == ARRIVALS_MAX else ""
    what = (
        f"{least}{count(len(late), 'write')} of {name!r} arrived after its rollback, in the last "
        f"{WINDOW_SECONDS / 60:g} min, by {', '.join(agents)}: a process still works on what was rolled back"
    )
    todo = f"restart the processes of {', '.join(agents)}; nothing that they write there is seen"
    return Finding("writers", Severity.ILL, what, entry.at, todo)


def _drills(facts: _Facts) -> Iterator[Finding]:
    state = drill_state(facts.kernel)
    canaries = [d.name for d in facts.record.deployments if facts.record.status(d) is Status.CANARY]
    if not state.ok:
        yield drill_finding(state, canaries)


def _levels(facts: _Facts) -> Iterator[Finding]:
    """Report the entries of the record, and those of this host's stop files."""
    files = facts.kernel.stop_files
    files.look()
    yield from level_findings((*files.entries, *facts.record.entries))


def _quality(facts: _Facts) -> Iterator[Finding]:
    """Report declared metrics of which too many values were refused in the last hour."""
    since = facts.now - QUALITY_SECONDS
    for what in quality.findings(facts.kernel, declared(facts.kernel).values(), since=since):
        yield Finding("quality", Severity.ILL, what, None, "correct what observes it, or its declaration")


CHECKS: dict[str, Check] = {
    "database": _database,
    "members": _members,
    "operations": _operations,
    "writers": _writers,
    "drills": _drills,
    "levels": _levels,
    "quality": _quality,
}


__all__ = ["CHECKS", "Finding", "Health", "Severity", "State", "health"]
