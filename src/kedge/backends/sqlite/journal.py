"""Journal of a SQLite database: each batch is one transaction."""

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

from kedge.backends.record_cache import DecodedRecord
from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.lineages import Interner
from kedge.backends.sqlite.reads import Reader, check_epoch
from kedge.backends.sqlite.session_names import stored_session
from kedge.backends.sqlite.sql import queries
from kedge.backends.sqlite.states import States
from kedge.model.appends import (
    TICK_SECONDS,
    Appended,
    call_lineage,
    check_head,
    check_newest,
    check_not_purged,
    rows_of,
)
from kedge.model.control_log import Position
from kedge.model.lineage import Lineage
from kedge.model.repeats import Call, decode_call, repeated, visible_calls
from kedge.model.states import Entry, Rule, is_dead, restated
from kedge.model.vector_groups import vector_groups
from kedge.model.visibility import View
from kedge.model.writes import SALT_BYTES, Author, Batch, Row, TurnEdges, digests, payload_bytes
from kedge.ports.clock import Clock
from kedge.ports.vectors import VectorWriter, stored_in_turn
from kedge.support.failpoints import reach

_SQL = queries("journal")
_CHUNK_NAMES = 500
SHARED_WRITES_MAX = 100  # a larger batch commits alone: others would wait for it
SHARED_BYTES_MAX = 1 << 18  # of vectors
_SHARED_VALUE_BYTES = 8 << 20


def next_position(connection: sqlite3.Connection, clock: Clock) -> Position:
    """Return the position of the next entry, at least a microsecond after the last one."""
    written, written_at, controlled, controlled_at = connection.execute(_SQL["position"]).fetchone()
    return Position(
        seq=max(written or 0, controlled or 0) + 1,
        at=round(max((written_at or 0.0) + TICK_SECONDS, (controlled_at or 0.0) + TICK_SECONDS, clock.now()), 6),
    )


def _split(salts: bytes) -> Iterator[bytes]:
    return (salts[start : start + SALT_BYTES] for start in range(0, len(salts), SALT_BYTES))


def _is_short(batch: Batch) -> bool:
    if len(batch.writes) > SHARED_WRITES_MAX:
        return False
    vectors = sum(len(vectors.rows) for vectors in batch.vectors)
    return vectors <= SHARED_BYTES_MAX and payload_bytes(batch.writes) <= _SHARED_VALUE_BYTES


class SqliteJournal(Reader):
    """The journal of one SQLite database."""

    def __init__(
        self,
        database: Database,
        interner: Interner,
        states: States,
        clock: Clock,
        vectors: VectorWriter[sqlite3.Connection],
    ) -> None:
        super().__init__(database, interner, states)
        self._clock = clock
        self._vectors = vectors
        self._decoded = DecodedRecord()

    def append(self, batch: Batch) -> Appended:
        """Commit a batch, or find the earlier call that it repeats; return the seqs of its writes, in order."""
        self._interner.look_up_seen(self._database, batch.author.seen)
        self._states.catch_up(self._database)
        with self._database.writing("append", shares=_is_short(batch)) as connection:
            check_epoch(connection, batch.epoch)
            if batch.idempotency is not None:
                call = self._repeated(connection, batch)
                if call is not None:
                    return Appended(call.seqs, call)
            self._check_expectations(connection, batch)
            position = next_position(connection, self._clock)
            stamp, rows = self.write_in(connection, batch, position)
            if batch.idempotency is not None:
                row = (batch.idempotency, position.seq, len(batch.writes), call_lineage(batch, stamp))
                connection.execute(_SQL["idempotency_insert"], row)
        self._learn(batch, stamp, rows)
        if any(row.key.store == "vectors" for row in rows):
            self._vectors.committed()
        return Appended([row.seq for row in rows])

    def _learn(self, batch: Batch, stamp: int, rows: list[Row]) -> None:
        self._interner.learn(batch.lineage, stamp)
        for row in rows[:1]:
            self._interner.learn_space(row.key.store, row.key.space, row.space)

    def write_in(self, connection: sqlite3.Connection, batch: Batch, position: Position) -> tuple[int, list[Row]]:
        """Write a batch inside the caller's transaction; return the id of its lineage and the rows."""
        stamp = self._stamp(connection, batch.lineage)
        if batch.edges:
            self._write_edges(connection, batch.edges, position)
        turn = self._turn(connection, batch.author, stamp)
        seqs = range(position.seq, position.seq + len(batch.writes))
        space_id, lineage_id = (
            partial(self._interner.intern_space, connection),
            partial(self._interner.intern, connection),
        )
        rows = rows_of(batch, seqs, stamp, space_id, lineage_id)
        with stored_in_turn(self._vectors, connection, vector_groups(batch, rows), batch.settled):
            records = self._records(batch, rows, stamp, turn, position.at)
            reach("append:before-rows")
            connection.executemany(_SQL["write_insert"], records)
            reach("append:rows")
            if rows:
                self._update_heads(connection, rows, batch.settled)
            if batch.reads is not None:
                connection.execute(_SQL["reads_insert"], (turn, position.seq, batch.reads))
        return stamp, rows

    def _records(self, batch: Batch, rows: list[Row], stamp: int, turn: int, at: float) -> list[tuple[Any, ...]]:
        """Return the rows of the journal: what `write_insert` takes."""
        salts = os.urandom(SALT_BYTES * len(rows))
        contents = zip((write.payload for write in batch.writes), batch.vector_rows(), strict=True)
        return [
            (
                row.seq, row.space, row.key.name, row.lineage, row.rank, row.deleted,
                write.source, stamp if write.source else row.lineage, turn, at, write.fresh_for,
                content, salt, write.payload,
            )
            for row, write, salt, content in zip(
                rows, batch.writes, _split(salts), digests(salts, contents), strict=True
            )
        ]  # fmt: skip

    def _stamp(self, connection: sqlite3.Connection, lineage: Lineage) -> int:
        check_not_purged(lineage, self.purged_of(connection, lineage))
        return self._interner.intern(connection, lineage)

    def purged_of(self, connection: sqlite3.Connection, lineage: Lineage) -> Lineage:
        """Return the purged deployments in a lineage, as a transaction sees them."""
        if not lineage:
            return lineage
        return lineage & self._decoded.of(connection.execute("SELECT record FROM control").fetchone()[0]).purged

    def _turn(self, connection: sqlite3.Connection, author: Author, stamp: int) -> int:
        fields = (
            author.uid, author.agent, author.person, stored_session(connection, author.session), author.parent,
            author.replays, author.began_at, author.began_epoch, stamp,
            self._interner.intern_seen(connection, author.seen),
        )  # fmt: skip
        return int(connection.execute(_SQL["turn_upsert"], fields).fetchone()[0])

    # ── heads and counters ──

    def _update_heads(self, connection: sqlite3.Connection, rows: list[Row], settled: Lineage) -> None:
        first, last = rows[0].seq, rows[-1].seq
        places = {(row.space, row.lineage) for row in rows}
        for space, lineage in places:
            state = self._states.plain(connection, lineage)
            connection.execute(_SQL["heads_of_batch"], (first, last, space, lineage, state))
            connection.execute(_SQL["count_batch"], (first, last, space, lineage))
        reach("append:heads")
        for space in {space for space, _ in places}:
            names = {row.key.name for row in rows if row.space == space and not row.is_new}
            if names and connection.execute(_SQL["has_lineages"], (space,)).fetchone():
                self._restate(connection, space, sorted(names), (first, self._states.rule(connection, settled)))

    def _restate(self, connection: sqlite3.Connection, space: int, names: list[str], written: tuple[int, Rule]) -> None:
        """Update the states of the heads at these names, and drop heads that another hides in every view.

        Keys whose heads have the same lineages and states, in the same order, are decided once.
        """
        first, rule = written
        decided: dict[tuple[tuple[int, int, bool], ...], dict[int, int | None]] = {}
        dropped: dict[int, list[str]] = {}  # by lineage
        changed: list[tuple[int, int, str, int]] = []
        for start in range(0, len(names), _CHUNK_NAMES):
            chunk = json.dumps(names[start : start + _CHUNK_NAMES], ensure_ascii=False)
            found = connection.execute(_SQL["heads_at"], (space, chunk)).fetchall()
            for name, group in groupby(found, key=itemgetter(0)):
                heads = list(group)
                if len(heads) == 1:
                    continue
                alike = tuple((lineage, state, seq >= first) for _, _, seq, lineage, state in heads)
                states = decided.get(alike)
                if states is None:
                    states = decided[alike] = self._restated(connection, [row[1:] for row in heads], first, rule)
                for lineage, state in states.items():
                    if state is None:
                        dropped.setdefault(lineage, []).append(name)
                    else:
                        changed.append((state, space, name, lineage))
        for lineage, dead in dropped.items():
            connection.execute(_SQL["heads_drop"], (space, lineage, json.dumps(dead, ensure_ascii=False)))
        connection.executemany(_SQL["head_restate"], changed)

    def _restated(
        self, connection: sqlite3.Connection, rows: Sequence[tuple[int, int, int, int]], first: int, rule: Rule
    ) -> dict[int, int | None]:
        """Return the new states, by lineage, of the heads of one key, the newest first; None: it is to be dropped."""
        heads = [Entry(rank, seq, lineage, state, seq >= first) for rank, seq, lineage, state in rows]
        members_of = partial(self._interner.members_uncached, connection)
        above_of = partial(self._states.above_uncached, connection)
        return {
            lineage: None if is_dead(above) else self._states.intern(connection, lineage, above, rule)
            for lineage, above in restated(heads, members_of, above_of, rule).items()
        }

    # ── preconditions ──

    def _check_expectations(self, connection: sqlite3.Connection, batch: Batch) -> None:
        view = View(batch.epoch, batch.seen, batch.settled, upto_rank=batch.rank)
        for write in batch.writes:
            if write.expect is not None:
                head = self.head_in(connection, view, write.key, payloads=False)
                check_head(write, 0 if head is None else head.seq)
        if batch.newest is not None:
            check_newest(batch.newest, self.newest_message_in(connection, view, batch.newest[0]))

    def _calls(self, connection: sqlite3.Connection, view: View, idempotency: str | None) -> list[str]:
        """Return the seqs, as JSON lists, of the calls with this key that the view sees, the newest first."""
        calls = [
            (seqs or json.dumps(list(range(first, first + count))), lineage)
            for first, count, lineage, seqs in connection.execute(_SQL["idempotency_find"], (idempotency,)).fetchall()
        ]
        return visible_calls(view, calls, self._members(connection))

    def _repeated(self, connection: sqlite3.Connection, batch: Batch) -> Call | None:
        visible = self._calls(connection, View(batch.epoch, batch.seen, batch.settled), batch.idempotency)
        calls = (connection.execute(_SQL["repeated_writes"], (seqs,)).fetchall() for seqs in visible)
        return repeated(batch, calls, self._members(connection), partial(self._interner.space, connection))

    def calls(self, view: View, idempotency: str) -> list[Call]:
        """Return the calls with this key that the view sees, the newest first."""
        with self._database.reading() as connection:
            return [
                decode_call(
                    view,
                    connection.execute(_SQL["writes_of_call"], (seqs,)).fetchall(),
                    self._members(connection),
                )
                for seqs in self._calls(connection, view, idempotency)
            ]

    # ── edges ──

    def record_edges(self, turns: Sequence[TurnEdges]) -> None:
        """Record turns with what they had read and their edges, in this order, in one commit."""
        for seen in {turn.author.seen for turn in turns}:
            self._interner.look_up_seen(self._database, seen)
        with self._database.writing("edge", shares=True) as connection:
            stamps = self._write_edges(connection, turns, next_position(connection, self._clock))
        for lineage, stamp in stamps.items():
            self._interner.learn(lineage, stamp)

    def _write_edges(
        self, connection: sqlite3.Connection, turns: Sequence[TurnEdges], position: Position
    ) -> dict[Lineage, int]:
        stamps: dict[Lineage, int] = {}
        for turn in turns:
            stamp = stamps[turn.lineage] = self._interner.intern(connection, turn.lineage)
            ident = self._turn(connection, turn.author, stamp)
            if turn.reads is not None:
                connection.execute(_SQL["reads_insert"], (ident, position.seq, turn.reads))
            for kind, peer in turn.edges:
                connection.execute(_SQL["edge_insert"], (position.at, kind, turn.author.uid, peer, stamp))
        return stamps
