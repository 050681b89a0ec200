"""Level entries of the control record: adding, coalescing, lifting and expiring them.

Writers before version 5 know two kinds of entries only: a person's frozen or off of a feature, and a rollback's hold of
one, both without who, why and since. Such entries are `plain`; all others need the fence. Every function here is a part
of a change: the record that it takes has the epoch that the change makes.
"""

from collections.abc import Iterable
from itertools import count

import msgspec

from kedge.errors import InvalidValue, UnknownName
from kedge.model.control import ControlRecord
from kedge.model.ladder import EVERYTHING, LevelEntry, LevelSource, Scope, plain_entry, plain_hold
from kedge.model.levels import Level, strictness
from kedge.support.display import brief

ENTRIES_BYTES_MAX = 16 << 10  # of the record's 64 KiB
RESERVED_BYTES = 4 << 10  # beyond them, for rollbacks and the guard: no flood of entries keeps these from acting
_RESERVED_FOR = (LevelSource.ROLLBACK, LevelSource.GUARD)
REASON_MAX = 200  # characters of a reason in the record; the log keeps all of it
_BY_MAX = 60  # characters of who and why in an entry of everything beyond the bound
_replace = msgspec.structs.replace


def tighten(record: ControlRecord, wanted: LevelEntry, *, plain: bool = False) -> tuple[ControlRecord, LevelEntry]:
    """Return the record with an entry more, and the entry as it stands; the same record where nothing changes.

    An equal one (same scope, level, source, by) is extended. `wanted` has no id yet; a `plain` one is stored without
    who and why.
    """
    if plain:
        return _tighten_plain(record, wanted)
    for entry in record.entries:
        if _is_equal(entry, wanted):
            longer = _replace(entry, expires=_later(entry.expires, wanted.expires))
            return (record, entry) if longer == entry else (_with(record, _put(record, longer)), longer)
    entry = _replace(wanted, id=_fresh_id(record.epoch, record.entries), reason=_cut(wanted.reason))
    entries = (*record.entries, entry)
    if size_of(entries) > _bytes_max(entry):
        if entry.scope != EVERYTHING:
            raise InvalidValue(_too_many(record, entry))
        entry = _replace(entry, by=entry.by[:_BY_MAX], reason=entry.reason[:_BY_MAX])  # the log has all of it
        entries = (*record.entries, entry)
        covering = [e for e in record.entries if e.scope == EVERYTHING and e.level == entry.level and not e.expires]
        if covering:
            return record, covering[0]
    return _with(record, entries), entry


def hold(
    record: ControlRecord, features: Iterable[str], operation: str, hold_entry: LevelEntry | None = None
) -> ControlRecord:
    """Hold features at the safe level for an operation.

    `hold_entry` says who, why and since; without it the entries are plain.
    """
    entries = list(record.entries)
    for feature in dict.fromkeys(features):
        entry = plain_hold(feature, operation)
        if hold_entry is not None:
            fresh = _fresh_id(record.epoch, entries)
            entry = _replace(hold_entry, id=fresh, scope=entry.scope, reason=_cut(hold_entry.reason))
        if not any(e.scope == entry.scope and e.operation == operation for e in entries):
            entries.append(entry)
    if len(entries) > len(record.entries) and size_of(entries) > _bytes_max(entries[-1]):
        raise InvalidValue(_too_many(record, entries[-1]))
    return _with(record, entries)


def of_operations(record: ControlRecord, operations: Iterable[str]) -> tuple[LevelEntry, ...]:
    """Return the entries that these operations hold."""
    ended = set(operations) - {""}
    return tuple(entry for entry in record.entries if entry.operation in ended)


def without(record: ControlRecord, gone: Iterable[LevelEntry]) -> ControlRecord:
    """Return the record without these entries."""
    ids = {entry.id for entry in gone}
    return _with(record, (entry for entry in record.entries if entry.id not in ids)) if ids else record


def replaced(record: ControlRecord, entry: LevelEntry, left: LevelEntry | None) -> ControlRecord:
    """Return the record with what is left of an entry."""
    return without(record, (entry,)) if left is None else _with(record, _put(record, left))


def set_by_person(record: ControlRecord, feature: str, level: Level, wanted: LevelEntry | None = None) -> ControlRecord:
    """Make one entry of a level all that persons say about a feature; full leaves none.

    `wanted` says who, why and since; without it the entry is plain.
    """
    kept = without(record, of_person(record, feature))
    if level is Level.FULL:
        return kept
    scope = Scope("feature", feature)
    if wanted is None:
        return _with(kept, (*kept.entries, plain_entry(feature, level)))
    return tighten(kept, _replace(wanted, scope=scope, level=level))[0]


def of_person(record: ControlRecord, feature: str) -> tuple[LevelEntry, ...]:
    """Return the entries of a feature that persons made."""
    scope = Scope("feature", feature)
    return tuple(e for e in record.entries if e.scope == scope and e.source is LevelSource.PERSON)


def due(record: ControlRecord, now: float) -> tuple[LevelEntry, ...]:
    """Return the entries that have expired and were not removed yet."""
    return tuple(entry for entry in record.entries if entry.expires is not None and entry.expires <= now)


def find(record: ControlRecord, given: object) -> LevelEntry:
    """Return an entry by itself, by its id, or by an unambiguous beginning of a long id; or raise `UnknownName`."""
    wanted = given.id if isinstance(given, LevelEntry) else given
    found = [entry for entry in record.entries if entry.id == wanted]
    if not found and isinstance(wanted, str) and len(wanted) >= 6:  # noqa: PLR2004 - of an operation's 32 digits
        found = [entry for entry in record.entries if entry.id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(entry.id for entry in record.entries[:10]) or "none"
    raise UnknownName(f"no level entry {brief(wanted)}: it was lifted or never there; entries now: {known}")


def size_of(entries: Iterable[LevelEntry]) -> int:
    """Return how many bytes of the record entries take."""
    return len(msgspec.json.encode(tuple(entries)))


def in_order(entries: Iterable[LevelEntry]) -> tuple[LevelEntry, ...]:
    """Return entries in the order in which they are stored: the plain ones first."""
    return tuple(sorted(entries, key=_place))


def is_plain(entry: LevelEntry) -> bool:
    """Return whether writers of every version know an entry."""
    if entry.source is LevelSource.ROLLBACK:
        return entry == plain_hold(entry.scope.name, entry.operation)
    known = entry.level in (Level.FROZEN, Level.OFF)
    return known and entry == plain_entry(entry.scope.name, entry.level)


def _place(entry: LevelEntry) -> tuple[int, str, str]:
    if not is_plain(entry):
        return 2, "", ""
    return (1 if entry.operation else 0), entry.scope.name, entry.operation


def _tighten_plain(record: ControlRecord, wanted: LevelEntry) -> tuple[ControlRecord, LevelEntry]:
    feature = wanted.scope.name
    standing = next((e for e in record.entries if e.id == plain_entry(feature, Level.OFF).id), None)
    if standing is not None and strictness(standing.level) >= strictness(wanted.level):
        return record, standing
    entry = plain_entry(feature, wanted.level)
    kept = record.entries if standing is None else without(record, (standing,)).entries
    return _with(record, (*kept, entry)), entry


def may_be_plain(wanted: LevelEntry) -> bool:
    """Return whether an entry can be stored without who and why, for writers of every version."""
    return (
        wanted.scope.kind == "feature"
        and wanted.source is LevelSource.PERSON
        and wanted.level in (Level.FROZEN, Level.OFF)
        and wanted.expires is None
    )


def _is_equal(entry: LevelEntry, wanted: LevelEntry) -> bool:
    same = (entry.scope, entry.level, entry.source) == (wanted.scope, wanted.level, wanted.source)
    return same and entry.by == wanted.by and entry.operation == wanted.operation


def _later(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else max(a, b)


def _cut(reason: str) -> str:
    return reason if len(reason) <= REASON_MAX else f"{reason[: REASON_MAX - 1]}…"


def _fresh_id(epoch: int, entries: Iterable[LevelEntry]) -> str:
    """Return an id for an entry of the change that makes an epoch."""
    taken = {entry.id for entry in entries}
    names = (f"L{epoch}" if not place else f"L{epoch}.{place + 1}" for place in count())
    return next(name for name in names if name not in taken)


def _put(record: ControlRecord, changed: LevelEntry) -> list[LevelEntry]:
    return [changed if entry.id == changed.id else entry for entry in record.entries]


def _with(record: ControlRecord, entries: Iterable[LevelEntry]) -> ControlRecord:
    return _replace(record, entries=in_order(entries))


def _bytes_max(entry: LevelEntry) -> int:
    """Return how many bytes all entries may take where this one is added."""
    return ENTRIES_BYTES_MAX + (RESERVED_BYTES if entry.source in _RESERVED_FOR else 0)


def _too_many(record: ControlRecord, entry: LevelEntry) -> str:
    return (
        f"no room for {entry.level} of {brief(str(entry.scope))}: the {len(record.entries)} level entries take "
        f"{size_of(record.entries):,} of {_bytes_max(entry):,} bytes; lift some (`kedge ladder`), or tighten everything"
    )
