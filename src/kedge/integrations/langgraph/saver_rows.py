"""Names and rows of a thread's checkpoints, channel values and pending writes."""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

import msgspec

import kedge

INLINE_BYTES_MAX = 400  # a larger value has a row of its own, which later checkpoints name
JOINED = 4  # parts of a list that are joined where they are of like size: a long list has few, and rewrites little
Typed = tuple[str, bytes]  # what the host's serializer returns
Brought = dict[str, Typed]  # by channel: its value, or a part of a list
DELETED = "d"  # its value: the id up to which a thread's checkpoints are deleted
_PLAIN, _DEFLATED = b"\0", b"\1"
_LENGTH_BYTES, _RAW = 8, -15  # before deflated bytes, their length when inflated; no header or checksum of zlib
_DEFLATE_FROM = 1_024


@lru_cache(maxsize=4_096)
def part(text: str) -> str:
    """Return the part of a name that stands for any text; of the root namespace, one that is quickly checked."""
    if not text:
        return "%"
    return kedge.escape_name(text.replace("%", "%25").replace("/", "%2F"))


def checkpoints(ns: str | None) -> str:
    """Return the prefix of the names of a namespace's checkpoints, or of all."""
    return "c/" if ns is None else f"c/{part(ns)}/"


def checkpoint(ns: str, place: str) -> str:
    """Return the name of the checkpoint at a place: its id, or where a replay has put it."""
    return f"{checkpoints(ns)}{part(place)}"


def before(ident: str) -> str:
    """Return a place just before a checkpoint, after those that are older."""
    return f"{ident[:-1]}{chr(ord(ident[-1]) - 1)}" if ident else ""


def replayed(ns: str, ident: str) -> str:
    """Return the name whose value is the place of a replayed checkpoint."""
    return f"r/{part(ns)}/{part(ident)}"


def writes_of(ns: str, ident: str | None = None) -> str:
    """Return the prefix of the names of pending writes: of a namespace, or of one checkpoint."""
    return f"w/{part(ns)}/" if ident is None else f"w/{part(ns)}/{part(ident)}/"


def values_of(ns: str, ident: str) -> str:
    """Return the name of the channel values that a checkpoint has brought."""
    return f"v/{part(ns)}/{part(ident)}"


def large_input(invocation: str) -> str:
    """Return the name of an input that is too large for its message."""
    return f"i/{part(invocation)}"


class Stored(msgspec.Struct, frozen=True, array_like=True):
    """Where a channel value lies: inline, or with the checkpoints that brought it; of a list, so many elements."""

    inline: Typed | None = None
    brought: tuple[tuple[str, int], ...] = ()
    is_list: bool = False

    @property
    def elements(self) -> int:
        """How many elements of a list are stored."""
        return sum(count for _, count in self.brought)

    def parts(self) -> list[tuple[int, int]]:
        """Return where each part of a list begins and ends."""
        ends = list(accumulate(count for _, count in self.brought))
        return list(zip([0, *ends], ends, strict=False))


class Row(msgspec.Struct, frozen=True, array_like=True):
    """A checkpoint as it is stored. `head` is what is left of it and its metadata, in the host's serialization."""

    ident: str
    ns: str
    parent: str | None
    head: Typed
    values: dict[str, Stored]
    invocation: str  # the id of the first checkpoint of the invocation


class TaskWrites(msgspec.Struct, frozen=True, array_like=True):
    """The pending writes of one task, each with its index and channel."""

    task: str
    path: str
    writes: tuple[tuple[int, str, Typed], ...]


def pack(value: Row | TaskWrites | Brought) -> bytes:
    """Return the bytes of a row."""
    plain = msgspec.msgpack.encode(value)
    if len(plain) < _DEFLATE_FROM:
        return _PLAIN + plain
    return b"%c%b%b" % (_DEFLATED, len(plain).to_bytes(_LENGTH_BYTES), zlib.compress(plain, 1, _RAW))


_rows, _writes = msgspec.msgpack.Decoder(Row), msgspec.msgpack.Decoder(TaskWrites)
_brought = msgspec.msgpack.Decoder(Brought)


def _plain(packed: bytes) -> bytes:
    if packed[:1] == _PLAIN:
        return packed[1:]
    start = 1 + _LENGTH_BYTES
    return zlib.decompress(packed[start:], _RAW, int.from_bytes(packed[1:start]))


def unpack_row(packed: bytes) -> Row:
    """Return a checkpoint from its row."""
    return _rows.decode(_plain(packed))


def unpack_writes(packed: bytes) -> TaskWrites:
    """Return a task's pending writes from their row."""
    return _writes.decode(_plain(packed))


def unpack_brought(packed: bytes) -> Brought:
    """Return the channel values of a row."""
    return _brought.decode(_plain(packed))


def merged(old: TaskWrites | None, new: TaskWrites) -> TaskWrites:
    """Return a task's writes after further ones: special writes (a negative index) replace, others come once."""
    if old is None:
        return new
    found = {number: (number, channel, packed) for number, channel, packed in old.writes}
    for number, channel, packed in new.writes:
        if number < 0 or number not in found:
            found[number] = (number, channel, packed)
    return TaskWrites(new.task, new.path or old.path, tuple(found[number] for number in sorted(found)))


def repeats(old: TaskWrites, new: TaskWrites, channel: str) -> bool:
    """Return whether the writes to a channel were there before."""
    before = {write for write in old.writes if write[1] == channel}
    return before.issuperset(write for write in new.writes if write[1] == channel)


# ── growing lists ──


class Kept(NamedTuple):
    """What a loop knows of a channel value that is stored.

    Of a list, its elements: as they were serialized, part by part, or copies, to see whether one was changed in place.
    """

    version: Any
    stored: Stored
    typed: Sequence[Typed] | None = None
    copies: Sequence[Any] | None = None


def copied(elements: Iterable[Any]) -> list[Any]:
    """Return copies that stay as they are, whatever is done to the elements."""
    return [each if isinstance(each, str | int | float | None) else deepcopy(each) for each in elements]


def begins_with(new: Sequence[Any], kept: Kept, dump: Callable[[Any], Typed]) -> bool:
    """Return whether a list begins with the elements that are stored, none of them changed."""
    if len(new) < kept.stored.elements:
        return False
    try:
        if kept.copies is not None:
            return all(type(n) is type(o) and bool(n == o) for n, o in zip(new, kept.copies, strict=False))
        parts = zip(kept.stored.parts(), kept.typed or (), strict=True)
        return all(dump(list(new[start:end])) == typed for (start, end), typed in parts)
    except Exception:  # noqa: BLE001 - a user's comparison may raise anything, or return an array
        return False


def with_part(brought: tuple[tuple[str, int], ...], ident: str, count: int) -> tuple[tuple[str, int], ...]:
    """Return the parts of a list after another one, which takes in those before it that are of like size."""
    counts = [*(each for _, each in brought), count]
    while len(counts) >= JOINED and sum(counts[1 - JOINED :]) >= counts[-JOINED]:
        counts[-JOINED:] = [sum(counts[-JOINED:])]
    return (*brought[: len(counts) - 1], (ident, counts[-1]))


def store_value(value: Any, kept: Kept | None, ident: str, dump: Callable[[Any], Typed]) -> tuple[Kept, Typed | None]:
    """Return where a changed value lies, and what its checkpoint brings of it: of a growing list, what was added."""
    grows = type(value) is list and kept is not None and kept.stored.is_list and begins_with(value, kept, dump)
    if grows and kept is not None:
        known = kept.stored.elements
        before, added = kept.copies if kept.copies is not None else copied(value[:known]), value[known:]
        if not added:
            return Kept(None, kept.stored, None, before), None
        brought = with_part(kept.stored.brought, ident, len(added))
        stored = Stored(None, brought, is_list=True)
        return Kept(None, stored, None, [*before, *copied(added)]), dump(value[-brought[-1][1] :])
    typed = dump(value)
    if len(typed[1]) <= INLINE_BYTES_MAX:
        return Kept(None, Stored(typed)), None
    if type(value) is list:
        return Kept(None, Stored(None, ((ident, len(value)),), is_list=True), None, copied(value)), typed
    return Kept(None, Stored(None, ((ident, 1),))), typed


def needed(rows: Iterable[Row]) -> list[str]:
    """Return the names of the rows that hold the values of these checkpoints, each once."""
    found = (values_of(row.ns, ident) for row in rows for s in row.values.values() for ident, _ in s.brought)
    return list(dict.fromkeys(found))


def typed_of(row: Row, channel: str, brought: Mapping[str, Brought]) -> list[Typed]:
    """Return the serialized parts of a value that lies in rows; raise `KeyError` where one is missing."""
    return [brought[values_of(row.ns, ident)][channel] for ident, _ in row.values[channel].brought]
