"""Keys, writes and heads of the journal; encoding and digests of values."""

import hashlib
import math
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

import msgspec
import numpy as np

from kedge.errors import InvalidValue
from kedge.model import deep_json
from kedge.model.lineage import EMPTY, Lineage
from kedge.model.numbers import as_plain

VALUE_BYTES_MAX = 8 * 1024 * 1024  # of messages, payloads of vectors, artifacts and cached results
LARGE_BYTES_MAX = 256 * 1024 * 1024  # of documents, facts, and values of users' own stores
DEPTH_MAX = 100  # lists and dicts inside one another: far below where Python's and other languages' readers give up
SALT_BYTES = 16
_LAST_CHARACTER = "\U0010ffff"
_SURROGATES = range(0xD800, 0xE000)  # no characters, and not to be stored as UTF-8
_AFTER_SURROGATES = 0xE000
_PLAIN = frozenset({str, int, bool, type(None)})
NO_SEQ = -1  # of no write: an expectation that fails, unless the call repeats an earlier one
SHARED_MEMORY = ""  # the space of messages from before memory needed a session: read by the command line and replay


class Origin(StrEnum):
    """Where a write comes from: outside (source), or an agent or a pipeline (derived)."""

    SOURCE = "source"
    DERIVED = "derived"


class Key(msgspec.Struct, frozen=True, gc=False):
    """The key of a write."""

    store: str
    space: str
    name: str

    @property
    def label(self) -> str:
        """The key as reports name it: `store:space/name`."""
        return f"{self.store}:{self.space}/{self.name}"


class Head(msgspec.Struct, frozen=True, gc=False):
    """The newest visible write of a key, as a reader gets it."""

    key: Key
    seq: int
    rank: int
    deleted: bool
    lineage_id: int
    lineage: Lineage
    source: bool = False
    at: float = 0.0
    fresh_for: float | None = None
    payload: bytes | None = None


class Pending(msgspec.Struct, frozen=True, gc=False):
    """A write to append.

    `payload` None deletes; `lineage` None takes the batch's stamp; `rank` None takes the batch's, or else its seq.
    """

    key: Key
    payload: bytes | None
    source: bool = False
    fresh_for: float | None = None
    expect: int | None = None
    lineage: Lineage | None = None
    rank: int | None = None


class Author(msgspec.Struct, frozen=True):
    """The turn that writes: its agent, person, session and caller, and the revocable deployments that it saw."""

    uid: str
    agent: str | None = None
    person: str | None = None
    session: str | None = None
    parent: str | None = None
    replays: int | None = None
    began_at: float = 0.0
    began_epoch: int = 0
    seen: Lineage = EMPTY


class TurnEdges(msgspec.Struct, frozen=True):
    """A turn to journal: its lineage, what it had read, and its edges to other turns, as pairs (kind, peer).

    "call": headers that left it, `peer` is the audience; "child": a turn that it called in its process, by id;
    "absorb": a callee that it absorbed, by id, or "" where no trusted headers named one.
    """

    author: Author
    lineage: Lineage
    reads: bytes | None = None
    edges: tuple[tuple[str, str], ...] = ()


class VectorBatch(msgspec.Struct, frozen=True):
    """The vectors of successive writes of a batch, in one embedding space: little-endian float32 rows.

    `first` is the place of the first of these writes in the batch.
    """

    space: str
    dim: int
    rows: bytes
    first: int = 0

    @property
    def count(self) -> int:
        """The number of rows."""
        return len(self.rows) // (self.dim * 4)

    def split(self) -> list[bytes]:
        """Return the bytes of each row."""
        width = self.dim * 4
        return [self.rows[start : start + width] for start in range(0, len(self.rows), width)]


class Batch(msgspec.Struct, frozen=True):
    """The writes of one call, appended atomically; refused if the control record has left `epoch`.

    `newest`: a session, and the seq that its newest visible message must have (0: it has none).
    `edges`: turns to journal with it, in this order, each before those that it called; its own is among them.
    `compared`: so many of its writes decide whether a call repeats it (None: all); the others follow from these.
    """

    epoch: int
    author: Author
    writes: tuple[Pending, ...]
    lineage: Lineage = EMPTY
    seen: frozenset[int] = EMPTY
    settled: frozenset[int] = EMPTY
    reads: bytes | None = None
    idempotency: str | None = None
    first_wins: bool = False
    rank: int | None = None
    vectors: tuple[VectorBatch, ...] = ()
    newest: tuple[str, int] | None = None
    edges: tuple[TurnEdges, ...] = ()
    compared: int | None = None

    def vector_rows(self) -> list[bytes]:
        """Return the bytes of the vector of each write, none where it has no vector."""
        rows = [b""] * len(self.writes)
        for vectors in self.vectors:
            found = vectors.split()
            rows[vectors.first : vectors.first + len(found)] = found
        return rows


class Row(msgspec.Struct, frozen=True, gc=False):
    """A write with its ids, as heads and vector rows need it."""

    seq: int
    space: int
    key: Key
    lineage: int
    rank: int
    deleted: bool
    is_new: bool = False  # its key is new: no other write has it


def prefix_end(prefix: str) -> str | None:
    """Return the least string, by code points, after all that begin with `prefix`; None where there is none."""
    while prefix:
        if prefix[-1] != _LAST_CHARACTER:
            following = ord(prefix[-1]) + 1
            return prefix[:-1] + chr(_AFTER_SURROGATES if following in _SURROGATES else following)
        prefix = prefix[:-1]
    return None


def _as_plain(value: object) -> object:
    """Return the plain value of a numpy scalar, or of a subclass of str, int or float."""
    if isinstance(value, np.generic):
        return as_plain(value)
    if isinstance(value, str):
        return str.__str__(value)
    return int(value) if isinstance(value, int) else float(value)  # type: ignore[arg-type]  # checked before


_SHA256 = hashlib.sha256
_DELETED = b"\xff" * 8  # in place of a length
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))
_INNER_PAD, _OUTER_PAD = (bytes([pad]) * (_SHA256().block_size - SALT_BYTES) for pad in (0x36, 0x5C))
_TO_JSON = msgspec.json.Encoder(enc_hook=_as_plain).encode
_FROM_JSON = msgspec.json.Decoder().decode


def payload_bytes(writes: Iterable[Pending]) -> int:
    """Return how many bytes the payloads of writes have together."""
    return sum(len(write.payload) for write in writes if write.payload is not None)


def memory_name(rank: int, seq: int) -> str:
    """Return the name of a message, so that name order is the order of a history."""
    return "%016x.%016x" % (rank, seq)  # noqa: UP031 - half again as fast as an f-string, and made for every message


def encode(value: object, what: str = "value", *, wrapped: int = 0, most: int = VALUE_BYTES_MAX) -> bytes:
    """Return the stored bytes of a JSON value or bytes; raise `InvalidValue` for anything else.

    `wrapped`: so many lists or dicts around the user's value are Kedge's own, and do not count for its depth.
    `most`: the limit in bytes.
    """
    kind = type(value)
    if kind is not dict and isinstance(value, (bytes, bytearray, memoryview)):
        encoded = b"b" + bytes(value)
    else:
        try:
            if isinstance(value, (dict, list, tuple)):
                _check_json(value, what, DEPTH_MAX + wrapped)
            elif kind not in _PLAIN:
                _check_leaf(
                    value, what, "neither JSON nor bytes; pass str, numbers, bool, None, lists, dicts, or bytes"
                )
            encoded = b"j" + _TO_JSON(value)
        except (RecursionError, ValueError) as error:
            raise _not_json(error, what) from None
    if len(encoded) - 1 > most:
        raise InvalidValue(
            f"{what} has {len(encoded) - 1:,} bytes, more than {most:,}; "
            "keep it in a file or object store and write its address and digest"
        )
    return encoded


def _not_json(error: Exception, what: str) -> InvalidValue:
    if isinstance(error, RecursionError):
        return InvalidValue(
            f"{what} is nested more than {DEPTH_MAX} deep; flatten it, or write its JSON text as a string"
        )
    if isinstance(error, UnicodeEncodeError):
        return InvalidValue(f"{what} has a lone surrogate at character {error.start}; pass valid Unicode text")
    return InvalidValue(f"{what} is not JSON: {error}; write it as a string")


def _check_json(value: object, path: str, depth_left: int) -> None:
    if not depth_left and isinstance(value, (dict, list, tuple)):
        raise RecursionError
    if isinstance(value, dict):
        for name, item in value.items():
            if type(name) is not str and not isinstance(name, str):
                raise InvalidValue(f"{path} has the key {name!r}, not a string; JSON keys are strings")
            if type(item) not in _PLAIN:
                _check_json(item, f"{path}[{name!r}]", depth_left - 1)
    elif isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            if type(item) not in _PLAIN:
                _check_json(item, f"{path}[{position}]", depth_left - 1)
    elif type(value) not in _PLAIN:
        _check_leaf(value, path, "not JSON; inside lists and dicts pass str, numbers, bool, None, lists or dicts")


def _check_leaf(value: object, path: str, told: str) -> None:
    if isinstance(value, np.generic):
        value = as_plain(value)
    if not isinstance(value, str | int | float):
        raise InvalidValue(f"{path} is {value!r:.80} of type {type(value).__name__}, {told}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidValue(f"{path} is {value!r}, which JSON cannot represent; use None or a string")


def decode(payload: bytes | None) -> Any:
    """Return the value that `encode` encoded."""
    if payload is None:
        return None
    if payload[:1] == b"b":
        return bytes(payload[1:])
    try:
        return _FROM_JSON(payload[1:])
    except RecursionError:  # it was written before `DEPTH_MAX`
        return deep_json.decode(payload[1:])


def to_json(value: object) -> bytes:
    """Return the JSON of a value that was stored, however deep."""
    try:
        return msgspec.json.encode(value)
    except RecursionError:
        return deep_json.encode(value)


def check_depth(value: object, what: str) -> None:
    """Raise `InvalidValue` where lists and dicts lie deeper in one another than `DEPTH_MAX`."""
    level = [value]
    for _ in range(DEPTH_MAX + 1):
        held = {id(item): item for item in level if isinstance(item, Mapping | list | tuple)}
        if not held:
            return
        level = [item for one in held.values() for item in (one.values() if isinstance(one, Mapping) else one)]
    raise _not_json(RecursionError(), what)


def digest(salt: bytes, payload: bytes | None, vector: bytes = b"") -> bytes:
    """Return HMAC-SHA256 (RFC 2104) of a write's content under its own salt of `SALT_BYTES`.

    The content is the payload's length (8 bytes, big-endian; all ones for a delete), the payload, and the vector.
    """
    return digests(salt, ((payload, vector),))[0]


def digests(salts: bytes, contents: Iterable[tuple[bytes | None, bytes]]) -> list[bytes]:
    """Return the digest of each content, (payload, vector), under its own part of `salts`.

    HMAC is written out here: `hmac.digest` looks up the algorithm in OpenSSL at every call, which takes 50% longer.
    """
    inner, outer = salts.translate(_INNER), salts.translate(_OUTER)
    found = []
    for first, (payload, vector) in zip(range(0, len(salts), SALT_BYTES), contents, strict=True):
        last = first + SALT_BYTES
        if payload is not None and len(payload) > VALUE_BYTES_MAX:  # hashed in place, not copied
            hashing = _SHA256(inner[first:last] + _INNER_PAD + len(payload).to_bytes(8, "big"))
            hashing.update(payload)
            hashing.update(vector)
        else:
            framed = _DELETED + vector if payload is None else len(payload).to_bytes(8, "big") + payload + vector
            hashing = _SHA256(inner[first:last] + _INNER_PAD + framed)
        found.append(_SHA256(outer[first:last] + _OUTER_PAD + hashing.digest()).digest())
    return found
