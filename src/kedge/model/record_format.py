"""Stored form of the control record: whole, or as what changed since the epoch before.

A database whose upgrade is not finished stores `{…}`, which older processes read. All others store `["record", {…}]`,
and in the log also `["delta", {…}]`: older processes fail on both, since they would take the settled for hidden.
"""

import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from kedge.model.control import ControlRecord, Revocable
from kedge.model.declared_metrics import DeclaredMetric
from kedge.model.entries import in_order, is_plain
from kedge.model.ladder import LevelEntry, plain_entry, plain_hold
from kedge.model.levels import Level
from kedge.model.lineage import from_ranges, to_ranges
from kedge.model.retention import RetentionPolicy
from kedge.model.transitions import compacted

DELTAS_MAX = 256  # so many follow a whole record at most
_RECORD, _DELTA = "record", "delta"

Ranges = tuple[tuple[int, int], ...]


class _Before(msgspec.Struct, frozen=True):
    """The record as processes before writer version 3 store and read it."""

    epoch: int = 0
    next_number: int = 1
    deployments: tuple[Revocable, ...] = ()
    settled_ranges: Ranges = ()
    purged_ranges: Ranges = ()
    levels: dict[str, Level] = {}
    held: dict[str, tuple[str, ...]] = {}
    retention_seconds: float | None = None
    rolled_back_peers: str = "rejoin"
    reconcilers: dict[str, str] = {}


class _Whole(msgspec.Struct, frozen=True, omit_defaults=True):
    """The record. A set of numbers is a bitmap, compressed: at most one bit a number, whatever the pattern."""

    epoch: int = 0
    next_number: int = 1
    deployments: tuple[Revocable, ...] = ()
    purged: bytes = b""
    peers: bytes = b""
    hidden_peers: bytes = b""
    levels: dict[str, Level] = {}
    held: dict[str, tuple[str, ...]] = {}
    entries: tuple[LevelEntry, ...] = ()  # those that are not plain: they need writers of version 5
    presets: dict[str, dict[str, Any]] = {}
    two_persons: bool = False
    retention_seconds: float | None = None
    policies: tuple[RetentionPolicy, ...] = ()
    purge_after_seconds: float | None = None
    rolled_back_peers: str = "rejoin"
    reconcilers: dict[str, str] = {}
    metrics: dict[str, DeclaredMetric] = {}


class _Delta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one change made of the record before it; `length` deltas of `size` bytes follow the whole record."""

    epoch: int
    length: int
    size: int
    put: tuple[Revocable, ...] = ()
    gone: tuple[int, ...] = ()
    added: dict[str, Ranges] = {}  # by the name of a set of numbers
    removed: dict[str, Ranges] = {}
    fields: dict[str, Any] = {}  # the new values of all other fields that changed


_SETS = ("purged", "peers", "hidden_peers")
_PLAIN = (
    "next_number",
    "levels",
    "held",
    "entries",
    "presets",
    "two_persons",
    "retention_seconds",
    "policies",
    "purge_after_seconds",
    "rolled_back_peers",
    "reconcilers",
    "metrics",
)
_TYPES = {field.name: field.type for field in msgspec.structs.fields(_Whole)}
_before, _tagged = msgspec.json.Decoder(_Before), msgspec.json.Decoder(tuple[str, msgspec.Raw])
_whole, _delta = msgspec.json.Decoder(_Whole), msgspec.json.Decoder(_Delta)


def encode_record(record: ControlRecord) -> bytes:
    """Return a whole control record as it is stored."""
    fields = _plain_fields(record)
    if not record.compact:
        settled, purged = to_ranges(record.settled), to_ranges(record.purged)
        known = {name: value for name, value in fields.items() if name in _Before.__struct_fields__}
        return msgspec.json.encode(_Before(**known, settled_ranges=settled, purged_ranges=purged))
    fields |= {name: _packed(getattr(record, name)) for name in _SETS}
    return msgspec.json.encode((_RECORD, _Whole(**fields)))


def decode_record(encoded: bytes) -> ControlRecord:
    """Return a stored control record, of whatever release."""
    if encoded[:1] == b"{":
        before = _before.decode(encoded)
        fields = _of_stored(_stored_fields(before))
        return ControlRecord(**fields, purged=from_ranges(before.purged_ranges), compact=False)
    tag, raw = _tagged.decode(encoded)
    if tag != _RECORD:
        raise msgspec.ValidationError(f"expected a whole control record, found {tag!r}")
    whole = _whole.decode(raw)
    fields = _of_stored(_stored_fields(whole)) | {name: _unpacked(getattr(whole, name)) for name in _SETS}
    return ControlRecord(**fields)


def log_form(before: ControlRecord, after: ControlRecord, whole: bytes, newest: tuple[int, bytes] | None) -> bytes:
    """Return what the log stores of a change: a delta, or now and then the whole record.

    `whole` is the stored form of the record after it, `newest` the epoch and the stored form of the log's newest
    change. A whole record follows deltas of its size: the log stays within twice what changed.
    """
    if newest is None or newest[0] != after.epoch - 1 or not (before.compact and after.compact):
        return whole
    length, size = _following(newest[1])
    encoded = msgspec.json.encode((_DELTA, _changed(before, after, length + 1, size)))
    return whole if length >= DELTAS_MAX or size + len(encoded) > len(whole) else encoded


def deltas_of(stored: bytes) -> int:
    """Return how many entries before this one are needed to read it."""
    return _following(stored)[0]


def fold(stored: Iterable[bytes]) -> ControlRecord:
    """Return the record of the newest of these changes; they come newest first, and only those needed are taken."""
    deltas: list[bytes] = []
    for one in stored:
        if is_delta(one):
            deltas.append(one)
            continue
        record = decode_record(one)
        for each in reversed(deltas):
            record = apply(record, each)
        return record
    if deltas:
        raise msgspec.ValidationError("no whole control record precedes the changes in the log")
    return ControlRecord()


def apply(record: ControlRecord, stored: bytes) -> ControlRecord:
    """Return the record after a change that is stored as a delta."""
    delta = _delta.decode(_tagged.decode(stored)[1])
    if delta.epoch != record.epoch + 1:
        raise msgspec.ValidationError(f"a change to epoch {delta.epoch} follows epoch {record.epoch}")
    record = compacted(record)
    standing = {d.number: d for d in record.deployments if d.number not in set(delta.gone)}
    standing |= {d.number: d for d in delta.put}
    sets = {
        name: getattr(record, name) - from_ranges(delta.removed.get(name, ())) | from_ranges(delta.added.get(name, ()))
        for name in {*delta.added, *delta.removed}
    }
    fields = {name: msgspec.convert(value, _TYPES[name]) for name, value in delta.fields.items()}
    fields = _of_stored(_plain_fields(record) | fields)
    fields |= {"epoch": delta.epoch, "deployments": tuple(standing[number] for number in sorted(standing))}
    return msgspec.structs.replace(record, **fields, **sets)


def is_delta(stored: bytes) -> bool:
    """Return whether a change is stored as a delta."""
    return stored.startswith(b'["%s"' % _DELTA.encode())


def _plain_fields(record: ControlRecord) -> dict[str, Any]:
    """Return the fields of a record as they are stored: plain level entries apart, as older writers know them."""
    stored: dict[str, Any] = {"levels": {}, "held": {}}
    for entry in filter(is_plain, record.entries):
        feature = entry.scope.name
        if entry.operation:
            stored["held"][feature] = (*stored["held"].get(feature, ()), entry.operation)
        else:
            stored["levels"][feature] = entry.level
    names = (name for name in ("epoch", "deployments", *_PLAIN) if name not in stored and name != "entries")
    others = tuple(entry for entry in record.entries if not is_plain(entry))
    return {name: getattr(record, name) for name in names} | stored | {"entries": others}


def _of_stored(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the record, from those that are stored."""
    levels, held, others = fields.pop("levels"), fields.pop("held"), fields.pop("entries", ())
    plain = [plain_entry(feature, level) for feature, level in levels.items()]
    holds = [plain_hold(feature, operation) for feature, by in held.items() for operation in by]
    return fields | {"entries": in_order((*plain, *holds, *others))}


def _stored_fields(stored: _Whole | _Before) -> dict[str, Any]:
    return {name: getattr(stored, name) for name in ("epoch", "deployments", *_PLAIN) if hasattr(stored, name)}


def _following(stored: bytes) -> tuple[int, int]:
    if not is_delta(stored):
        return 0, 0
    delta = _delta.decode(_tagged.decode(stored)[1])
    return delta.length, delta.size + len(stored)


def _changed(before: ControlRecord, after: ControlRecord, length: int, size: int) -> _Delta:
    sets = {name: (getattr(before, name), getattr(after, name)) for name in _SETS}
    old, new = _plain_fields(before), _plain_fields(after)
    return _Delta(
        after.epoch,
        length,
        size,
        put=tuple(d for d in after.deployments if before.by_number.get(d.number) != d),
        gone=tuple(number for number in before.by_number if number not in after.by_number),
        added={name: to_ranges(now - then) for name, (then, now) in sets.items() if now - then},
        removed={name: to_ranges(then - now) for name, (then, now) in sets.items() if then - now},
        fields={name: new[name] for name in _PLAIN if old[name] != new[name]},
    )


def _packed(numbers: Sequence[int] | frozenset[int]) -> bytes:
    if not numbers:
        return b""
    bits = np.zeros(max(numbers) + 1, np.bool_)
    bits[list(numbers)] = True
    return zlib.compress(np.packbits(bits, bitorder="little").tobytes(), 9)


def _unpacked(packed: bytes) -> frozenset[int]:
    if not packed:
        return frozenset()
    try:
        bits = np.unpackbits(np.frombuffer(zlib.decompress(packed), np.uint8), bitorder="little")
    except zlib.error as error:
        raise msgspec.ValidationError(f"a set of numbers cannot be read: {error}") from error
    return frozenset(np.flatnonzero(bits).tolist())
