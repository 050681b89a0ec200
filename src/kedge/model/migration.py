"""Portable rows: the format in which a database migrates between backends.

Each column has a kind: `i` integer, `f` float, `o` boolean, `b` bytes, `t` text, `s` text that people typed
and may have any characters, `I` and `T` lists of integers and of texts. Values may be None where the table allows it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

import msgspec

from kedge.errors import IllegalTransition, NotAKedgeDatabase, NotEmpty
from kedge.model.control import ControlRecord
from kedge.model.control_log import NewEntry
from kedge.model.pruning import Pruned
from kedge.model.record_format import decode_record, encode_record
from kedge.model.transitions import compacted

Record = tuple[Any, ...]


class Table(msgspec.Struct, frozen=True):
    """A table in portable rows: its columns by name and kind; the first `key` columns are its sort key.

    Rows of a `lasting` table never change and are never deleted. `bound` names a column of seqs: no row is added with
    a seq that the journal has passed.
    """

    name: str
    columns: tuple[tuple[str, str], ...]
    key: int = 1
    lasting: bool = False
    bound: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(name for name, _ in self.columns)

    @property
    def kinds(self) -> str:
        """The kinds of the columns."""
        return "".join(kind for _, kind in self.columns)

    def at(self, column: str) -> int:
        """Return the position of a column."""
        return self.names.index(column)


def _table(
    name: str, columns: str, *, key: int = 1, lasting: bool = False, bound: str | None = None
) -> tuple[str, Table]:
    pairs = [column.split(":") for column in columns.split()]
    return name, Table(name, tuple((column, kind) for column, kind in pairs), key, lasting or bound is not None, bound)


WRITES = _table(
    "writes",
    "seq:i space:i name:t lineage:i rank:i deleted:o source:o provenance:i turn:i at:f fresh_for:f digest:b salt:b "
    "payload:b embedding:i vector:b",
    bound="seq",
)[1]
EMBEDDINGS = _table("embeddings", "id:i collection:t space:t dim:i", lasting=True)[1]

_EMBEDDING = WRITES.at("embedding")
PLAIN_WRITES = msgspec.structs.replace(WRITES, columns=WRITES.columns[:_EMBEDDING])  # without their vectors

# All other tables, which are copied when the source is closed.
TABLES: dict[str, Table] = dict(
    (
        _table(
            "control_log",
            "seq:i epoch:i at:f operation:t kind:t deployment:t by:t reason:s detail:s record:b",
            bound="seq",
        ),
        _table("deployments", "number:i name:t kind:t digest:t manifest:b warnings:b note:s at:f by:t", lasting=True),
        _table("artifact_versions", "name:t version:s digest:t", key=2, lasting=True),
        _table("lineages", "id:i members:t", lasting=True),
        _table("spaces", "id:i store:t space:t", lasting=True),
        _table("seen_sets", "id:i members:t", lasting=True),
        _table("session_names", "id:i session:t", lasting=True),
        _table(
            "turns",
            "id:i uid:t agent:t person:t session:t parent:t replays:i began_at:f began_epoch:i lineage:i seen:i",
        ),
        _table("reads", "turn:i before_seq:i reads:b", key=3, bound="before_seq"),
        _table("edges", "id:i at:f kind:t turn:t peer:t lineage:i"),
        _table("idempotency", "key:t seqs:I lineage:i", key=2),
        _table(
            "sessions",
            "session:t generation:i seq:i epoch:i at:f base:I opened_with:t by:t settings:t ended:o",
            key=2,
            bound="seq",
        ),
        _table("snapshots", "name:t seq:i epoch:i at:f by:t deployment:i"),
        _table(
            "observations",
            "id:i at:f session:t agent:t metric:t value:t lineage:i seen:I recorded_at:f idempotency:t",
        ),
        _table("cache", "key:b lineage:i at:f expires:f bytes:i payload:b", key=2),
        _table("collections", "name:t dim:i metric:t embedder:t at:f fields:T"),
        _table(
            "members",
            "uid:t name:t host:t pid:i serves:T lease_seconds:f epoch:i joined_at:f at:f expired:o held:b code:t",
        ),
        _table(
            "launches",
            "name:t digest:t release:b state:b version:i done:i phase:t blocks:o trouble:t begun_at:f changed_at:f "
            "begun_by:t holder:t host:t until:f",
        ),
        _table("launch_requests", "launch:t number:i at:f body:b", key=2),
        _table("replayed", "seq:i turn:i uid:t"),
        _table("level_requests", "id:t kind:t about:t status:t at:f body:b"),
        _table("states", "id:i lineage:i superseders:t"),
        _table("heads", "space:i name:t lineage:i rank:i seq:i deleted:o state:i", key=3),
        _table("counters", "space:i lineage:i puts:i deletes:i", key=2),
        _table("rows", "embedding:i seq:i state:i", key=2),
    )
)


def turned(table: Table, rows: Iterable[Any], turns: Mapping[str, Callable[[Any], Any]]) -> Iterator[Record]:
    """Yield rows with each value that is not None converted by the kind of its column."""
    turning = [(at, turns[kind]) for at, kind in enumerate(table.kinds) if kind in turns]
    for row in rows:
        values = list(row)
        for at, turn in turning:
            if values[at] is not None:
                values[at] = turn(values[at])
        yield tuple(values)


class Identity(msgspec.Struct, frozen=True):
    """The id and keys of a database, which a migration keeps."""

    database_id: bytes
    header_key: bytes
    reclaimed: dict[str, int]  # by collection: the seq before which compaction has removed vector rows
    pruned: Pruned


class Marks(msgspec.Struct, frozen=True):
    """How often rows were removed from a database, whose journal otherwise only grows."""

    purges: int
    packings: int


class Arriving(msgspec.Struct, frozen=True):
    """An unfinished migration, as its target stores it."""

    source: str
    database_id: str
    marks: Marks
    sealed: int | None = None  # the seq of the entry that closed the source
    done: tuple[str, ...] = ()  # complete tables
    abandoned: bool = False


class Sealed(msgspec.Struct, frozen=True):
    """Where a database was moved to, as it stores it, and the seq of the log entry of that, its last one."""

    to: str
    seq: int
    at: float
    by: str


_ARRIVING = msgspec.json.Decoder(Arriving)
_SEALED = msgspec.json.Decoder(Sealed)


def decode_arriving(stored: bytes | None) -> Arriving | None:
    """Return an unfinished migration as it is stored."""
    return None if stored is None else _ARRIVING.decode(stored)


def decode_sealed(stored: bytes | None) -> Sealed | None:
    """Return a seal as it is stored."""
    return None if stored is None else _SEALED.decode(stored)


def by_embedding(writes: Iterable[Record]) -> list[tuple[int, list[Record]]]:
    """Return the writes that have vectors, in order of seq, by embedding."""
    with_vectors = sorted((w for w in writes if w[_EMBEDDING] is not None), key=lambda w: (w[_EMBEDDING], w[0]))
    return [(embedding, list(group)) for embedding, group in groupby(with_vectors, key=lambda w: w[_EMBEDDING])]


def marks_of(place: str, begun: int, erased: int, packings: int = 0) -> Marks:
    """Return the marks of a database; raise `IllegalTransition` while a purge is unfinished."""
    if begun != erased:
        raise IllegalTransition(f"a purge of {place} is not finished; `kedge recover` finishes it")
    return Marks(erased, packings)


def following_record(encoded: bytes) -> ControlRecord:
    """Return the control record of the next epoch, otherwise unchanged: its commit makes every process reload."""
    record = decode_record(encoded)
    return msgspec.structs.replace(record, epoch=record.epoch + 1)


def arriving_record(epoch: int, encoded: bytes) -> tuple[int, bytes]:
    """Return the epoch and the control record of a source as its target stores it: no older process opens that."""
    return epoch, encode_record(compacted(decode_record(encoded)))


def portable_pruned(stored: bytes | str | None) -> Pruned:
    """Return what was pruned from a source as its target stores it: entries are counted anew as they arrive."""
    return msgspec.structs.replace(Pruned.decode(stored), entries=0)


def move_entry(kind: str, to: str, by: str, seq: int, record: ControlRecord) -> NewEntry:
    """Return the log entry, at a seq, of a database that is closed ("moved") or reopened ("move-abandoned")."""
    return NewEntry(f"{kind}:{seq}", kind, by, detail={"to": to}, record=encode_record(record))


def abandoned(place: str, arriving: Arriving | None, *, has_record: bool) -> Arriving | None:
    """Return an unfinished migration as given up, or None where nothing is there; raise where another database is."""
    if arriving is not None:
        return msgspec.structs.replace(arriving, abandoned=True)
    if has_record:
        raise IllegalTransition(f"{place} holds no unfinished migration; check what it is")
    return None


def not_empty(place: str) -> NotEmpty:
    """Return the error for a migration into a place that has a database."""
    return NotEmpty(f"{place} is already a Kedge database; migrate to an empty place")


def no_record(place: str) -> NotAKedgeDatabase:
    """Return the error for a database without a control record."""
    return NotAKedgeDatabase(f"{place} has no control record; it is not a complete database")


def moved_message(place: str, to: str) -> str:
    """Return the message for the use of a database that was moved."""
    return f"{place} was moved to {to}: open that; this one is read-only now (read_only=True opens it)"


def arriving_message(place: str, arriving: Arriving) -> str:
    """Return the message for opening a database that is not complete."""
    if arriving.abandoned:
        return f"{place} is not complete, and never will be: the move from {arriving.source} was given up; drop it"
    return (
        f"{place} is not complete: a move from {arriving.source} is unfinished; run `kedge migrate-store "
        f"{arriving.source} {place}` again"
    )


def two_at_once(place: str) -> str:
    """Return the message for rows that another process has imported."""
    return f"another process is moving a database to {place}; let one of them finish"


def abandoned_message(place: str) -> str:
    """Return the message for continuing a migration that was given up."""
    return f"the move to {place} was given up, and its source is in use again; migrate to an empty place"


def chunk_rows(dims: Iterable[int]) -> int:
    """Return how many writes to copy at a time: fewer for long vectors, to bound the memory."""
    return max(16, min(_CHUNK_ROWS, _CHUNK_BYTES // (4 * max(dims, default=1))))


_CHUNK_ROWS = 2_000
_CHUNK_BYTES = 32 << 20
PAYLOAD_BYTES = 32 << 20  # copied at a time, or one write
