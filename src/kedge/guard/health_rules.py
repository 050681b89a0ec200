"""Rules of health: what a member's state, an unfinished change, a late write or an old drill means."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum

from kedge.model.drills import DrillState
from kedge.model.fleet import Standing, patience
from kedge.model.ladder import EVERYTHING, LevelEntry, LevelSource
from kedge.model.levels import Level
from kedge.model.stop_file import is_of_file
from kedge.ports.control import Entry
from kedge.ports.impact import Arrival
from kedge.support.display import Value

CHANGES_LOOKED_AT = 200
UNCONFIRMED_SECONDS = 3_600.0
GRACE_SECONDS = 60.0  # for a change to finish, and for turns under way to end
NAMES_MAX = 5
CONFIRMED = frozenset({"rollback", "retract", "level", "tighten"})  # changes that every member must confirm


class Severity(StrEnum):
    """How bad a finding is, the worst first."""

    ILL = "ill"
    UNKNOWN = "unknown"
    WARNING = "warning"


class Finding(Value, frozen=True):
    """One finding: the check that made it, how bad it is, what it is, since when if that is known, and what to do."""

    check: str
    severity: Severity
    what: str
    since: float | None
    todo: str


def judge_members(
    members: Iterable[Standing], newest_first: Sequence[Entry], epoch: int, now: float
) -> Iterator[Finding]:
    """Report members that have not acknowledged the epoch though their lease must be over, and those without a lease.

    A member without a lease serves nothing. One that has not confirmed a rollback or a stop is ill for an hour even so:
    it may be cut off, and nothing but its own clock has stopped it.
    Times are those of different machines: a clock that is wrong by more than a lease makes a member look silent.
    """
    found: dict[tuple[Severity, str], list[tuple[str, float]]] = {}
    for member in members:
        since, unconfirmed = _missed(member, newest_first)
        is_over = since is not None and now - since > patience(member.lease_seconds)
        has_lease = not member.expired and now - member.at <= member.lease_seconds
        said = f"{member.name} on {member.host} (pid {member.pid}, epoch {member.epoch})"
        if since is not None and is_over and unconfirmed and (has_lease or now - since <= UNCONFIRMED_SECONDS):
            found.setdefault((Severity.ILL, f"has not confirmed {unconfirmed}"), []).append((said, since))
        elif since is not None and is_over and has_lease:
            what = f"refreshes its lease, and has not acknowledged epoch {epoch}"
            found.setdefault((Severity.ILL, what), []).append((said, since))
        elif not has_lease:
            what = "has let its lease run out, and serves nothing"
            found.setdefault((Severity.WARNING, what), []).append((said, member.at))
    for (severity, what), names in found.items():
        todo = "restart it; if it is gone, its entry is forgotten after a day"
        yield Finding("members", severity, f"{_some(names)} {what}", min(at for _, at in names), todo)


def _missed(member: Standing, newest_first: Sequence[Entry]) -> tuple[float | None, str]:
    """Return since when a member lacks a change, and the oldest change that it must confirm, in words.

    Where it lacks more than was looked at, it is since the oldest entry of those.
    """
    missed = [entry for entry in newest_first if entry.epoch > member.epoch]
    if not missed:
        return None, ""
    first = next((entry for entry in reversed(missed) if entry.kind in CONFIRMED and not entry.is_step), None)
    if first is None:
        return missed[-1].at, ""
    subject = first.deployment or first.detail.get("feature") or first.detail.get("scope") or ""
    return first.at, f"the {first.kind} of {subject!r} (epoch {first.epoch})" if subject else f"the {first.kind}"


def _some(names: Sequence[tuple[str, float]]) -> str:
    more = len(names) - NAMES_MAX
    return ", ".join(name for name, _ in names[:NAMES_MAX]) + (f" and {more:,} more" if more > 0 else "")


def unfinished_finding(entry: Entry, wanted: Mapping[str, Sequence[str]], now: float) -> Finding:
    """Return the finding for a change whose last step is not in the log."""
    age = now - entry.at
    severity = Severity.ILL if age > GRACE_SECONDS else Severity.WARNING
    subject = f"the {entry.kind} of {entry.deployment!r} (epoch {entry.epoch}, by {entry.by})"
    if wanted and entry.kind not in {"rollback", "purge"}:
        what = f"{', '.join(sorted(wanted))} did not follow {subject}"
    else:
        systems = f"; still to follow: {', '.join(sorted(wanted))}" if wanted else ""
        what = f"{subject} is not finished{systems}"
    todo = "run `kedge recover`" if severity is Severity.ILL else "wait: it may be under way"
    return Finding("operations", severity, what, entry.at, todo)


def late_writes(arrivals: Iterable[Arrival], rollback: Entry) -> list[Arrival]:
    """Return the writes that came after a rollback, and after the turns under way then had time to end."""
    return [arrival for arrival in arrivals if arrival.at > rollback.at + GRACE_SECONDS]


def drill_finding(state: DrillState, canaries: Sequence[str]) -> Finding:
    """Return the finding for a drill that failed, or that is missing: ill while a canary could need a rollback."""
    during = f", and {', '.join(canaries)} could need a rollback" if canaries else ""
    severity = Severity.ILL if state.failed or canaries else Severity.WARNING
    return Finding("drills", severity, state.why + during, state.at, "run `kedge drill --in-place`")


def level_findings(entries: Iterable[LevelEntry]) -> Iterator[Finding]:
    """Report what stands below full: ill where everything is off, else a warning."""
    for entry in entries:
        is_all = entry.scope == EVERYTHING and entry.level is Level.OFF
        why = f": {entry.reason}" if entry.reason else ""
        what = f"{entry.scope} is at level {entry.level}, by {entry.by or entry.source}{why}"
        severity = Severity.ILL if is_all else Severity.WARNING
        yield Finding("levels", severity, what, entry.since or None, f"once the reason is gone, run `{_lift(entry)}`")


def _lift(entry: LevelEntry) -> str:
    """Return the command that lifts an entry."""
    if entry.source is not LevelSource.FILE:
        return f"kedge ladder loosen {entry.id}"
    file = f" --file {shlex.quote(entry.by)}" if is_of_file(entry) else ""
    return f"kedge stop --release {entry.scope}{file}"


__all__ = [
    "CHANGES_LOOKED_AT", "CONFIRMED", "GRACE_SECONDS", "Finding", "Severity", "drill_finding", "judge_members",
    "late_writes", "level_findings", "unfinished_finding",
]  # fmt: skip
