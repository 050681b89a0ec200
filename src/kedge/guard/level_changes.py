"""Changes of level entries, as recorded changes of the control record; any source may ask for one."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from kedge.errors import InvalidValue, NotPermitted, UnknownName, nearest
from kedge.model import entries, transitions
from kedge.model.checks import check_name, check_seconds
from kedge.model.control import ControlRecord
from kedge.model.ladder import (
    EVERYTHING,
    LevelEntry,
    LevelSource,
    Scope,
    logged,
    loosened,
    may_loosen,
    needs_two,
    parse_scope,
)
from kedge.model.levels import Level, check_level, strictness
from kedge.model.unfinished import ROLLBACK
from kedge.model.upgrade import GUARD_SINCE
from kedge.ports.control import Change
from kedge.support.display import brief
from kedge.turns.kernel import Kernel, check_reason

TIGHTEN, LOOSEN, SET = "tighten", "loosen", "level"


def tighten(
    kernel: Kernel,
    level: object,
    scope: object = EVERYTHING,
    *,
    source: LevelSource,
    by: str,
    reason: str = "",
    expires: float | datetime | None = None,
) -> LevelEntry:
    """Add a level entry, or extend an equal one; return it as it stands. No epoch is spent where nothing changes."""
    check_reason(reason)
    chosen, where = check_level(level), parse_scope(scope)
    if chosen is Level.FULL:
        raise InvalidValue("nothing is tightened to 'full': use loosen(entry), or set_level(feature, 'full')")
    number = _number_of(kernel, where)
    since, until = kernel.backend.clock.now(), _moment(kernel, expires)
    wanted = LevelEntry("", where, chosen, LevelSource(source), by, reason, since, until, number)
    plain = not kernel.has_fence(GUARD_SINCE)
    if plain and not entries.may_be_plain(wanted):
        kernel.check_fence(f"level {chosen} of {where}", GUARD_SINCE)
    before = kernel.backend.control.load()
    standing, entry = entries.tighten(before, wanted, plain=plain)
    if standing is before:
        return entry
    operation = kernel.backend.clock.fresh_id()

    def decide(record: ControlRecord) -> Change:
        nonlocal entry
        after, entry = entries.tighten(transitions.next_epoch(record), wanted, plain=plain)
        return Change(after, operation, TIGHTEN, by, _deployment(where), reason, logged(entry))

    kernel.change(decide)
    return entry


def loosen(
    kernel: Kernel,
    entry: LevelEntry | str,
    *,
    source: LevelSource,
    by: str,
    reason: str = "",
    latched: bool = False,
    operation: str | None = None,
    detail: dict[str, Any] | None = None,
) -> LevelEntry | None:
    """Lift an entry; the guard takes one rung. Return what is left of it.

    The caller has asked for the second person, where one is required. `latched`: the guard has rolled back what the
    entry is about.
    """
    number, given = operation or kernel.backend.clock.fresh_id(), LevelSource(source)
    left: LevelEntry | None = None

    def decide(record: ControlRecord) -> Change:
        nonlocal left
        standing = entries.find(record, entry)
        may_loosen(standing, source=given, by=by, latched=latched or _was_rolled_back(kernel, given, standing))
        left = loosened(standing, source=given)
        after = entries.replaced(transitions.next_epoch(record), standing, left)
        told = logged(standing) | {"left": "full" if left is None else str(left.level)} | (detail or {})
        return Change(after, number, LOOSEN, by, _deployment(standing.scope), reason, told)

    kernel.change(decide)
    return left


def set_level(kernel: Kernel, feature: str, level: Level, *, by: str, reason: str) -> None:
    """Make one entry of this level all that persons say about a feature; what others set stays."""
    check_name("the feature", feature)
    check_reason(reason)
    now, operation = kernel.backend.clock.now(), kernel.backend.clock.fresh_id()
    plain = not kernel.has_fence(GUARD_SINCE)
    scope = Scope("feature", feature)
    wanted = LevelEntry("", scope, level, LevelSource.PERSON, by, reason, now)
    if plain and level is not Level.FULL and not entries.may_be_plain(wanted):
        kernel.check_fence(f"level {level} of {scope}", GUARD_SINCE)

    def decide(record: ControlRecord) -> Change:
        _check_alone(record, entries.of_person(record, feature), level)
        after = entries.set_by_person(transitions.next_epoch(record), feature, level, None if plain else wanted)
        return Change(after, operation, SET, by, None, reason, {"feature": feature, "level": str(level)})

    kernel.change(decide)


def _check_alone(record: ControlRecord, gone: Iterable[LevelEntry], level: Level) -> None:
    """Raise `NotPermitted` where two persons are required to loosen one of these entries to a level."""
    for entry in gone if record.two_persons else ():
        if strictness(entry.level) > strictness(level) and needs_two(entry, source=LevelSource.PERSON):
            raise NotPermitted(
                f"two persons loosen {entry.level} of {entry.scope} here ({entry.id}): ask with "
                f"k.ladder.loosen({entry.id!r}), and another person approves"
            )


def _was_rolled_back(kernel: Kernel, source: LevelSource, entry: LevelEntry) -> bool:
    """Return whether the deployment of an entry was ever rolled back: the guard does not loosen it then."""
    if source is not LevelSource.GUARD or not entry.number:
        return False
    return bool(kernel.backend.control.entries_of((entry.scope.name,), (ROLLBACK,)))


def _number_of(kernel: Kernel, scope: Scope) -> int:
    if scope.kind != "deployment":
        return 0
    number = kernel.backend.control.number_of(scope.name)
    record = kernel.backend.control.load()
    if number is None or number in record.purged:
        known: Iterable[str] = [deployment.name for deployment in record.deployments]
        raise UnknownName(
            f"no deployment is named {brief(scope.name)}{nearest(scope.name, known)}; `kedge status` lists them"
        )
    return number


def _moment(kernel: Kernel, expires: float | datetime | None) -> float | None:
    """Return when an entry expires, by the database's time: after seconds, or at a time."""
    if isinstance(expires, datetime):
        if expires.tzinfo is None:
            raise InvalidValue(f"invalid expires {expires}: a time needs a time zone, such as UTC; or give seconds")
        moment, now = expires.timestamp(), kernel.backend.control.position().at
        if moment <= now:
            raise InvalidValue(f"invalid expires {expires}: it has passed; give a time to come, or seconds")
        return moment
    seconds = check_seconds("expires", expires)
    return None if seconds is None else kernel.backend.control.position().at + seconds


def _deployment(scope: Scope) -> str | None:
    return scope.name if scope.kind == "deployment" else None
