"""Journal of a PostgreSQL database: each batch is one transaction that holds the lanes of its keys."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from kedge.backends.postgres.batch_insert import Stamp, insert_writes
from kedge.backends.postgres.database import Database
from kedge.backends.postgres.fast_append import FastAppend, FastAppender
from kedge.backends.postgres.heads import Heads, HeadWriter, drop_in
from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.reads import Reader
from kedge.backends.postgres.row_locks import lane_of, lanes_of
from kedge.backends.postgres.session_names import stored_session
from kedge.backends.postgres.sql import queries
from kedge.backends.postgres.states import States
from kedge.backends.postgres.vector_rows import LaneTransaction
from kedge.backends.record_cache import DecodedRecord
from kedge.model.appends import (
    TICK_SECONDS,
    Appended,
    call_lineage,
    check_head,
    check_newest,
    check_not_purged,
    rows_of,
)
from kedge.model.control_log import Position, check_epoch
from kedge.model.lineage import Lineage
from kedge.model.repeats import Call, decode_call, repeated, visible_calls
from kedge.model.vector_groups import vector_groups
from kedge.model.visibility import View
from kedge.model.writes import Author, Batch, Pending, Row, TurnEdges
from kedge.ports.vectors import VectorWriter, stored_in_turn
from kedge.support.failpoints import reach

_SQL = queries("journal")
_TURNS_CACHED = 1_000
Now = Callable[[], float | None]


class Drawn(msgspec.Struct, frozen=True):
    """The seqs and the time of new entries, and the control record that they are based on."""

    epoch: int
    record: bytes
    at: float
    seqs: list[int]


class Written(msgspec.Struct, frozen=True):
    """The result of an append: the seqs, and the ids committed with them, or the call that they repeat."""

    seqs: list[int]
    stamp: int | None = None
    turn: int = 0
    rows: tuple[Row, ...] = ()
    repeats: Call | None = None


class PostgresJournal(Reader):
    """The journal of one PostgreSQL database. `now` is a test's clock; it returns None for the server's time."""

    def __init__(
        self,
        database: Database,
        interner: Interner,
        states: States,
        vectors: VectorWriter[LaneTransaction],
        now: Now,
    ) -> None:
        super().__init__(database, interner, states)
        self._vectors = vectors
        self._heads = HeadWriter(interner, states)
        self._now = now
        self._decoded = DecodedRecord()
        self._fast_appender = FastAppender(interner, states, now, TICK_SECONDS)
        self._turns: dict[str, tuple[int, int]] = {}

    def missing(self, link: Link) -> str | None:
        """Return a cached turn that the server has lost, or None."""
        self._learn_fence(link.one(_SQL["fence"])[0])
        turns = [(uid, ident) for uid, (ident, _) in list(self._turns.items())]
        for (uid,) in link.rows(_SQL["turns_missing"], *map(list, zip(*turns, strict=True))) if turns else ():
            return f"the turn {uid}"
        return None

    def _learn_fence(self, fence: int) -> None:
        """Forget the ids of turns if the fence was raised: pruning may have deleted some, which are inserted anew."""
        if self._fast_appender.learn_fence(fence):
            self._turns.clear()

    # ── appending ──

    def append(self, batch: Batch) -> Appended:
        """Commit a batch, or find the earlier call that it repeats; return the seqs of its writes, in order."""
        lanes = lanes_of(batch)
        self._interner.look_up_seen(self._database, batch.author.seen)
        planned = self._fast_appender.plan(batch, lanes, self._turns.get(batch.author.uid))
        seq = None if planned is None else self._append_one(planned, lanes)
        return self._append_all(batch, lanes) if seq is None else Appended([seq])

    def _append_one(self, planned: FastAppend, lanes: tuple[int, ...]) -> int | None:
        """Return the seq of a fast append, or None where its assumptions do not hold."""

        def find(link: Link) -> tuple[Any, ...] | None:
            found = link.row(_SQL["append_one_find"], planned.turn, planned.digest)
            if found is None:  # it may still arrive: the fence makes it do nothing
                link.one(_SQL["fence_raise"])
            return found

        found = self._database.write_one("append", _SQL["append_one"], planned.parameters, lanes=lanes, find=find)
        return None if found[0] is None else int(found[0])

    def _append_all(self, batch: Batch, lanes: tuple[int, ...]) -> Appended:
        tried: list[Written] = []

        def act(link: Link) -> Written:
            tried[:] = [self._append(link, batch, lanes[0])]
            return tried[0]

        def find(link: Link) -> Written | None:
            done = tried[0]
            is_done = done.repeats or (done.seqs and link.row(_SQL["is_written"], done.seqs[0], batch.author.uid))
            return done if is_done else None

        written = self._database.write("append", act, lanes=lanes, find=find)
        self._learn(batch, written)
        if any(row.key.store == "vectors" for row in written.rows):
            self._vectors.committed()
        return Appended(written.seqs, written.repeats)

    def _append(self, link: Link, batch: Batch, lane: int) -> Written:
        self._states.catch_up(link)
        stamp = self._interner.intern(link, batch.lineage)
        asked = self._ask(link, batch)
        repeats = None if batch.idempotency is None else link.send(_SQL["idempotency_find"], batch.idempotency)
        fence = link.send(_SQL["fence"])
        drawn = self.draw(link, len(batch.writes), epoch=batch.epoch)
        self._learn_fence(fence.fetchall()[0][0])
        if repeats is not None:
            call = self._repeated(link, batch, repeats.fetchall())
            if call is not None:
                return Written(call.seqs, repeats=call)
        heads = self._heads.found(asked)
        self._check_expectations(link, batch, heads)
        turn, rows = self.write_in(link, batch, drawn, (stamp, lane), heads)
        if batch.idempotency is not None:
            link.send(_SQL["idempotency_insert"], batch.idempotency, drawn.seqs, call_lineage(batch, stamp))
        return Written(drawn.seqs, stamp, turn, tuple(rows))

    def draw(self, link: Link, count: int, *, epoch: int | None = None) -> Drawn:
        """Draw the seqs of the next entries, at this epoch; the transaction holds a lane."""
        found, record, at, seqs = link.one(_SQL["look"], self._now(), epoch, count, TICK_SECONDS)
        if epoch is not None:
            check_epoch(found, epoch)
        return Drawn(found, record, round(at, 6), seqs)

    def _ask(self, link: Link, batch: Batch) -> Any:
        keys = {(w.key.store, w.key.space, w.key.name) for w in batch.writes if w.key.name}
        spaces = {place: self._interner.space_uncached(link, *place) for place in {key[:2] for key in keys}}
        places = ((spaces[store, space], name) for store, space, name in keys)
        return self._heads.ask(link, ((space, name) for space, name in places if space is not None))

    def _learn(self, batch: Batch, written: Written) -> None:
        if written.stamp is None:
            return
        self._interner.learn(batch.lineage, written.stamp)
        if len(self._turns) > _TURNS_CACHED:
            self._turns.clear()
        self._turns[batch.author.uid] = (written.turn, written.stamp)
        for row in written.rows[:1]:
            self._interner.learn_space(row.key.store, row.key.space, row.space)

    def write_in(
        self, link: Link, batch: Batch, drawn: Drawn, stamp_and_lane: tuple[int, int], heads: Heads | None = None
    ) -> tuple[int, list[Row]]:
        """Write a batch inside the caller's transaction; return the id of the turn and the rows."""
        stamp, lane = stamp_and_lane
        self._check_purged(batch.lineage, drawn)
        before = 0
        if batch.edges or (batch.reads is not None and not drawn.seqs):
            before = drawn.seqs[0] if drawn.seqs else self.last_seq(link) + 1
            self._write_edges(link, batch.edges, before, drawn.at)
        turn = self._turn(link, batch.author, stamp)
        space_id, lineage_id = partial(self._interner.intern_space, link), partial(self._interner.intern, link)
        rows = rows_of(batch, drawn.seqs, stamp, space_id, lineage_id)
        reach("append:before-rows")
        groups = vector_groups(batch, rows)
        with stored_in_turn(self._vectors, LaneTransaction(link, lane), groups, batch.settled):
            if rows:
                if heads is None:
                    heads = self._heads.found(self._heads.ask(link, ((row.space, row.key.name) for row in rows)))
                changes = self._heads.changes(link, rows, heads, batch.settled)
                insert_writes(link, batch, rows, changes.puts, Stamp(stamp, turn, drawn.at, lane))
                reach("append:rows")
                drop_in(link, changes.drops)
                reach("append:heads")
            if batch.reads is not None:
                link.send(_SQL["reads_insert"], turn, drawn.seqs[0] if rows else before, batch.reads)
        return turn, rows

    def write_batches(self, link: Link, batches: Sequence[Batch], drawn: Drawn) -> None:
        """Write several batches at the drawn seqs, inside the caller's transaction, which holds their lanes."""
        self._states.catch_up(link)
        first = 0
        for batch in batches:
            end = first + len(batch.writes)
            part = msgspec.structs.replace(drawn, seqs=drawn.seqs[first:end])
            self.write_in(link, batch, part, (self._interner.intern(link, batch.lineage), 0))
            first = end

    def _check_purged(self, lineage: Lineage, drawn: Drawn) -> None:
        if not lineage:
            return
        purged = self._decoded.of(drawn.record).purged
        self._fast_appender.learn(drawn.epoch, purged)
        check_not_purged(lineage, purged)

    def purged_of(self, link: Link, lineage: Lineage) -> Lineage:
        """Return the purged deployments in a lineage, as a transaction sees them."""
        return lineage & self._decoded.of(link.one(_SQL["record"])[0]).purged if lineage else lineage

    def _turn(self, link: Link, author: Author, stamp: int) -> int:
        known = self._turns.get(author.uid)
        if known is not None and known[1] == stamp:
            return known[0]
        found = link.one(
            _SQL["turn_upsert"], author.uid, author.agent, author.person, stored_session(link, author.session),
            author.parent, author.replays, author.began_at, author.began_epoch, stamp,
            self._interner.intern_seen(link, author.seen),
        )  # fmt: skip
        return int(found[0])

    # ── preconditions ──

    def _check_expectations(self, link: Link, batch: Batch, heads: Heads) -> None:
        view = View(batch.epoch, batch.seen, batch.settled, upto_rank=batch.rank)
        for write in batch.writes:
            if write.expect is not None:
                check_head(write, self._seq_of_head(link, view, write, heads))
        if batch.newest is not None:
            check_newest(batch.newest, self.newest_message_in(link, view, batch.newest[0]))

    def _seq_of_head(self, link: Link, view: View, write: Pending, heads: Heads) -> int:
        key = write.key
        if view.bounds(key.store) is not None:
            head = self.head_in(link, view, key, payloads=False)
            return 0 if head is None else head.seq
        space = self._interner.space_uncached(link, key.store, key.space)
        there = {} if space is None else heads.get((space, key.name), {})
        seen = [
            (head.rank, head.seq)
            for lineage, head in there.items()
            if view.sees(self._interner.members_uncached(link, lineage))
        ]
        return max(seen, default=(0, 0))[1]

    def _repeated(self, link: Link, batch: Batch, found: list[Any]) -> Call | None:
        members = partial(self._interner.members_uncached, link)
        visible = visible_calls(View(batch.epoch, batch.seen, batch.settled), found, members)
        calls = (link.rows(_SQL["repeated_writes"], seqs) for seqs in visible)
        return repeated(batch, calls, members, partial(self._interner.space_uncached, link))

    def calls(self, view: View, idempotency: str) -> list[Call]:
        """Return the calls with this key that the view sees, the newest first."""

        def look(link: Link) -> list[Call]:
            members = self._members(link)
            visible = visible_calls(view, link.rows(_SQL["idempotency_find"], idempotency), members)
            return [decode_call(view, link.rows(_SQL["writes_of_call"], seqs), members) for seqs in visible]

        return self._database.read(look)

    # ── edges ──

    def record_edges(self, turns: Sequence[TurnEdges]) -> None:
        """Record turns with what they had read and their edges, in this order, in one commit."""

        def act(link: Link) -> dict[str, tuple[int, int]]:
            fence = link.send(_SQL["fence"])
            drawn = self.draw(link, 0)
            self._learn_fence(fence.fetchall()[0][0])
            return self._write_edges(link, turns, self.last_seq(link) + 1, drawn.at)

        for seen in {turn.author.seen for turn in turns}:
            self._interner.look_up_seen(self._database, seen)
        known = self._database.write("edge", act, lanes=[lane_of("turn", turns[-1].author.uid)])
        for turn in turns:
            self._interner.learn(turn.lineage, known[turn.author.uid][1])
        self._turns |= known

    def _write_edges(
        self, link: Link, turns: Sequence[TurnEdges], before: int, at: float
    ) -> dict[str, tuple[int, int]]:
        """Write turns with their reads and edges; return the ids of each and of its lineage."""
        known: dict[str, tuple[int, int]] = {}
        for turn in turns:
            stamp = self._interner.intern(link, turn.lineage)
            ident = self._turn(link, turn.author, stamp)
            known[turn.author.uid] = (ident, stamp)
            if turn.reads is not None:
                link.send(_SQL["reads_insert"], ident, before, turn.reads)
            for kind, peer in turn.edges:
                link.send(_SQL["edge_insert"], at, kind, turn.author.uid, peer, stamp)
        return known

    # ── position ──

    def standby_stand(self, link: Link) -> Position:
        """Return the last seq before which a standby lacks nothing, and the earliest time of the next entry."""
        last = link.send(_SQL["settled_seq"])
        drawn = self.draw(link, 0)
        return Position(int(last.fetchall()[0][0]), drawn.at)

    def stand(self, link: Link) -> Position:
        """Return the last seq, and the earliest time of the next entry; see `Database.settle`."""
        last = link.send(_SQL["last_seq"])
        drawn = self.draw(link, 0)
        return Position(int(last.fetchall()[0][0]), drawn.at)
