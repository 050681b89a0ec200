"""Insert of a batch of writes, with its heads and counters, in one statement."""

import os
from collections.abc import Sequence
from typing import Any

import msgspec

from kedge.backends.postgres.heads import HeadRow, counter_columns, head_columns
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.sql import queries
from kedge.model.writes import SALT_BYTES, VALUE_BYTES_MAX, Batch, Pending, Row, digest, payload_bytes

_SQL = queries("journal")
_PART_BYTES = 64 << 20  # of payloads in one statement
Puts = list[tuple[int, str, HeadRow]]


class Stamp(msgspec.Struct, frozen=True):
    """What all writes of a batch share: lineage, turn, time, and a lane that the transaction holds."""

    lineage: int
    turn: int
    at: float
    lane: int


def insert_writes(link: Link, batch: Batch, rows: Sequence[Row], puts: Puts, stamp: Stamp) -> None:
    """Insert writes and the heads that they change."""
    vectors = batch.vector_rows()
    random = os.urandom(SALT_BYTES * len(rows))
    salts = [random[start : start + SALT_BYTES] for start in range(0, len(random), SALT_BYTES)]
    digests = [
        digest(salt, write.payload, vector) for salt, write, vector in zip(salts, batch.writes, vectors, strict=True)
    ]
    parts = _parts(batch.writes)
    if len(parts) == 1 and _are_alike(batch, rows, puts):
        _insert_alike(link, batch, rows, (b"".join(digests), random, puts[0][2].state), stamp)
        return
    for part in parts:
        written = _columns(batch.writes[part], rows[part], (digests[part], salts[part]), stamp)
        is_last = part is parts[-1]
        heads, counters = head_columns(puts if is_last else []), counter_columns(rows if is_last else ())
        link.send(_SQL["append_many"], *written, *heads, stamp.lane, *counters)
        if payload_bytes(batch.writes[part]) > VALUE_BYTES_MAX:
            link.wait()  # so that libpq holds one at a time


def _parts(writes: Sequence[Pending]) -> list[slice]:
    """Return the parts of a batch that go into a statement each: PostgreSQL takes less than 1 GiB at a time."""
    starts, held = [0], 0
    for number, write in enumerate(writes):
        size = len(write.payload or b"")
        if held and held + size > _PART_BYTES:
            starts.append(number)
            held = 0
        held += size
    return [slice(*ends) for ends in zip(starts, [*starts[1:], len(writes)], strict=True)]


def _are_alike(batch: Batch, rows: Sequence[Row], puts: Puts) -> bool:
    """Return whether all writes differ only in name and content, and become heads in one state."""
    first, write, state = rows[0], batch.writes[0], puts[0][2].state if puts else 0
    shared = (first.space, first.lineage, first.deleted)
    return (
        len(puts) == len(rows)
        and all((row.space, row.lineage, row.deleted) == shared and row.rank == row.seq for row in rows)
        and all(w.source == write.source and w.fresh_for == write.fresh_for for w in batch.writes)
        and all(put[2].state == state and put[2].seq == row.seq for put, row in zip(puts, rows, strict=True))
    )


def _insert_alike(
    link: Link, batch: Batch, rows: Sequence[Row], content: tuple[bytes, bytes, int], stamp: Stamp
) -> None:
    digests, salts, state = content
    first, write = rows[0], batch.writes[0]
    link.send(
        _SQL["append_alike"], [row.seq for row in rows], [row.key.name for row in rows],
        [w.payload for w in batch.writes], digests, salts, first.space, first.lineage, first.deleted, write.source,
        stamp.lineage if write.source else first.lineage,
        None if write.fresh_for is None else float(write.fresh_for),
        stamp.turn, stamp.at, state, stamp.lane, len(rows),
    )  # fmt: skip


def _columns(
    writes: Sequence[Pending], rows: Sequence[Row], content: tuple[list[bytes], list[bytes]], stamp: Stamp
) -> tuple[Any, ...]:
    """Return the columns of the journal rows."""
    return (
        [row.seq for row in rows],
        [row.space for row in rows],
        [row.key.name for row in rows],
        [row.lineage for row in rows],
        [row.rank for row in rows],
        [row.deleted for row in rows],
        [write.source for write in writes],
        [stamp.lineage if write.source else row.lineage for row, write in zip(rows, writes, strict=True)],
        [None if write.fresh_for is None else float(write.fresh_for) for write in writes],
        *content,
        [write.payload for write in writes],
        stamp.turn,
        stamp.at,
    )
