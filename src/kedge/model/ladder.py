"""Level entries: why something stands below full, for which scope, and who may lift that."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, Literal

import msgspec

from kedge.errors import InvalidValue, NotPermitted
from kedge.model.checks import check_name
from kedge.model.draws import drawn
from kedge.model.levels import SAFE_LEVEL, Level, next_looser, strictness
from kedge.support.display import Value, brief

ScopeKind = Literal["everything", "deployment", "feature", "tool", "cohort", "session"]
NAMED = ("deployment", "feature", "tool", "session")
TWO_PERSONS = (Level.FALLBACK, Level.OFF)
"""The levels that one person alone does not loosen, where the database requires two."""
_FORMS = "'everything', 'deployment:NAME', 'feature:NAME', 'tool:NAME', 'cohort:LOW-HIGH' or 'session:NAME'"
_DECIMALS = 6  # of the bounds of a cohort
_COHORT_SALT = ""  # no deployment has this name, so that cohorts are independent of canaries


class LevelSource(StrEnum):
    """What made a level entry. Only it, or a person, lifts the entry."""

    PERSON = "person"
    GUARD = "guard"
    ROLLBACK = "rollback"
    HOOK = "hook"  # another program, or an agent
    LEASE = "lease"
    FILE = "file"


class Scope(Value, frozen=True, omit_defaults=True):
    """What a level entry is for. A cohort is the sessions whose hash is at least `low` and below `high`."""

    kind: ScopeKind
    name: str = ""
    low: float = 0.0
    high: float = 1.0

    def __str__(self) -> str:
        """Return the text form, which `parse_scope` reads."""
        if self.kind == "cohort":
            return f"cohort:{_decimal(self.low)}-{_decimal(self.high)}"
        return f"{self.kind}:{self.name}" if self.name else self.kind

    def __repr__(self) -> str:
        """Return one line."""
        return f"Scope({self})"


def _decimal(bound: float) -> str:
    return f"{bound:.{_DECIMALS}f}".rstrip("0").rstrip(".")


EVERYTHING = Scope("everything")


class LevelEntry(Value, frozen=True):
    """One reason why something stands below full.

    `number` is the number of the deployment of the scope; `operation` is the rollback that holds the scope. `expires`
    is when a recorded change removes the entry: until that change it counts, whatever the time.
    """

    id: str
    scope: Scope
    level: Level
    source: LevelSource = LevelSource.PERSON
    by: str = ""
    reason: str = ""
    since: float = 0.0
    expires: float | None = None
    number: int = 0
    operation: str = ""


def plain_entry(feature: str, level: Level) -> LevelEntry:
    """Return a person's entry for a feature as writers before version 5 store it: without who, why and since."""
    return LevelEntry(f"feature:{feature}", Scope("feature", feature), level)


def plain_hold(feature: str, operation: str) -> LevelEntry:
    """Return a rollback's hold of a feature as writers before version 5 store it."""
    return LevelEntry(
        f"{operation}:{feature}", Scope("feature", feature), SAFE_LEVEL, LevelSource.ROLLBACK, operation=operation
    )


def parse_scope(scope: object) -> Scope:
    """Return the scope of its text form, of a mapping such as `{"feature": "support"}`, or of a `Scope`."""
    if isinstance(scope, Scope):
        return parse_scope({scope.kind: (scope.low, scope.high) if scope.kind == "cohort" else scope.name})
    if isinstance(scope, str):
        kind, _, name = scope.partition(":")
        return _scope(kind, name, scope)
    if isinstance(scope, Mapping) and len(scope) == 1:
        kind, name = next(iter(scope.items()))
        return _scope(kind, name, scope)
    raise _invalid(scope)


def _scope(kind: object, name: Any, given: object) -> Scope:
    if kind == "everything":
        if name in ("", True, None):
            return EVERYTHING
    elif kind == "cohort":
        return Scope("cohort", "", *_range(name, given))
    elif isinstance(kind, str) and kind in NAMED:
        return Scope(kind, check_name(f"the {kind} of a scope", name))  # type: ignore[arg-type] # one of NAMED
    raise _invalid(given)


def _range(text: object, given: object) -> tuple[float, float]:
    """Return the bounds of a cohort, from `0-0.25` or from two numbers."""
    parts = text.split("-") if isinstance(text, str) else text
    try:
        low, high = (round(float(part), _DECIMALS) for part in parts)  # type: ignore[attr-defined] # else a TypeError
    except (TypeError, ValueError):
        raise _invalid(given) from None
    if not 0 <= low < high <= 1:
        raise InvalidValue(f"invalid cohort {brief(given)}: must be a range of [0, 1], such as 'cohort:0-0.25'")
    return low, high


def _invalid(given: object) -> InvalidValue:
    return InvalidValue(f"invalid scope {brief(given)}: must be {_FORMS}")


@lru_cache(maxsize=1_024)
def session_hash(session: str) -> float:
    """Return the place of a session among cohorts, in [0, 1)."""
    return drawn(_COHORT_SALT, session)


def matches(
    scope: Scope, *, feature: str | None, session: str | None, tool: str | None, deployments: Iterable[str]
) -> bool:
    """Return whether a scope covers what is asked about."""
    match scope.kind:
        case "everything":
            return True
        case "deployment":
            return scope.name in deployments
        case "cohort":
            return session is not None and scope.low <= session_hash(session) < scope.high
        case kind:
            return scope.name == {"feature": feature, "session": session, "tool": tool}[kind]


def decisive(
    entries: Iterable[LevelEntry],
    *,
    feature: str | None = None,
    session: str | None = None,
    tool: str | None = None,
    deployments: Iterable[str] = frozenset(),
) -> LevelEntry | None:
    """Return the strictest of the entries that match, the first of equal ones; None where none matches."""
    seen = frozenset(deployments)
    found = [
        entry
        for entry in entries
        if matches(entry.scope, feature=feature, session=session, tool=tool, deployments=seen)
    ]
    return max(found, key=lambda entry: strictness(entry.level), default=None)


def effective(
    entries: Iterable[LevelEntry],
    *,
    feature: str | None = None,
    session: str | None = None,
    tool: str | None = None,
    deployments: Iterable[str] = frozenset(),
) -> Level:
    """Return the strictest level of the entries that match; full where none does."""
    found = decisive(entries, feature=feature, session=session, tool=tool, deployments=deployments)
    return Level.FULL if found is None else found.level


def may_loosen(entry: LevelEntry, *, source: LevelSource, by: str = "", latched: bool = False) -> None:
    """Raise `NotPermitted` unless this source may loosen an entry; a person may, always.

    `latched`: the guard has rolled back the deployment that the entry is about.
    """
    if source is LevelSource.PERSON:
        return
    named = f"the entry {entry.id} ({entry.level} for {entry.scope}, set by {entry.source} {entry.by!r})"
    if source is not entry.source or (source is LevelSource.HOOK and by != entry.by):
        raise NotPermitted(f"{source} {by!r} cannot lift {named}: only what set it, or a person, lifts an entry")
    if source is LevelSource.GUARD and entry.level in TWO_PERSONS:
        raise NotPermitted(f"the guard cannot lift {named}: a person lifts {' and '.join(TWO_PERSONS)}")
    if source is LevelSource.GUARD and latched:
        raise NotPermitted(f"the guard cannot lift {named}: it has rolled back that deployment; a person lifts it")


def needs_two(entry: LevelEntry, *, source: LevelSource) -> bool:
    """Return whether two persons loosen this entry, where the database requires two: off, fallback, the guard's."""
    return source is LevelSource.PERSON and (entry.level in TWO_PERSONS or entry.source is LevelSource.GUARD)


def loosened(entry: LevelEntry, *, source: LevelSource) -> LevelEntry | None:
    """Return what is left of an entry once it is loosened: the guard takes one rung, all others lift it."""
    if source is not LevelSource.GUARD:
        return None
    level = next_looser(entry.level)
    return None if level is Level.FULL else msgspec.structs.replace(entry, level=level)


def logged(entry: LevelEntry) -> dict[str, Any]:
    """Return what the log keeps of an entry, beside who and why."""
    told = {"entry": entry.id, "scope": str(entry.scope), "level": str(entry.level), "source": str(entry.source)}
    return told | ({} if entry.expires is None else {"expires": entry.expires})
