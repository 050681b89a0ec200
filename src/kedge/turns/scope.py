"""Turn scope: a turn's view, read log and author; reads add to its lineage, writes are stamped with it."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar, cast

from kedge.errors import (
    Frozen,
    IdempotencyMismatch,
    KedgeError,
    NoSession,
    SettledMeanwhile,
    TurnClosed,
    UntrustedHeaders,
)
from kedge.model.artifact_reads import ABSENT, Pins, Taken
from kedge.model.checks import check_name, check_origin
from kedge.model.codec import Codec
from kedge.model.control import ControlRecord, Level, stricter
from kedge.model.lineage import Lineage
from kedge.model.reads import RangeRead
from kedge.model.repeats import Call
from kedge.model.turns import Ends, check_seen, moved
from kedge.model.visibility import View
from kedge.model.writes import (
    SHARED_MEMORY,
    Author,
    Batch,
    Head,
    Key,
    Origin,
    Pending,
    TurnEdges,
    VectorBatch,
    encode,
)
from kedge.ports.control import EpochMoved
from kedge.ports.journal import Appended
from kedge.ports.metrics import Sample
from kedge.support.fork_lock import ForkSafeLock
from kedge.turns.artifact_cache import NO_ARTIFACTS, AgentArtifacts
from kedge.turns.batch import WriteBatch
from kedge.turns.begin import TurnStart, imposed_artifacts, own_artifacts
from kedge.turns.kernel import Kernel
from kedge.turns.replaying import Replaying, Replays, delete_of
from kedge.turns.turn_log import TurnLog

T = TypeVar("T")
S_co = TypeVar("S_co", covariant=True)
_moving = ForkSafeLock()  # held while a turn moves its view, never over I/O


class TurnScope:
    """What one turn reads and writes through: a `WritingScope` for its stores, and the state behind its face."""

    def __init__(
        self, kernel: Kernel, start: TurnStart, *, agent: str | None, person: str | None, replays: Replays | None
    ) -> None:
        self._kernel = kernel
        self.backend = kernel.backend
        self.record = start.record
        self.base = start.base | start.record.externals
        self.shared_memory = replays is not None and replays.shared_memory
        self._rank = None if replays is None else replays.rank
        self._came_at: float | None = None  # when the replayed input did
        self.view = View(self.record.epoch, self.record.seen_by(self.base), self.record.settled, upto_rank=self._rank)
        now = self.backend.clock.now()
        self.author = Author(
            uid=self.backend.clock.fresh_id(),
            agent=agent,
            person=person,
            session=start.session,
            parent=start.parent,
            replays=None if replays is None else replays.seq,
            began_at=now,
            began_epoch=self.record.epoch,
            seen=self.view.seen - self.record.externals,
        )
        self.replaying = None if replays is None else Replaying(self.backend, replays, self.author)
        self.own = NO_ARTIFACTS
        self.imposed = NO_ARTIFACTS  # of deployments with attribution="view"
        self.pins = Pins(agent)
        self.log = TurnLog(self.author, start.lineage)
        self.distrust = start.distrust
        self.batch: WriteBatch | None = None
        self._closed = False
        self._ended: KedgeError | None = None

    @property
    def codec(self) -> Codec | None:
        """The codec of values that JSON cannot hold, if this process has one."""
        return self._kernel.codec

    @property
    def session(self) -> str | None:
        """The session whose memory this scope reads."""
        return self.author.session

    @property
    def memory_space(self) -> str:
        """The space of the session's memory, or raise: without a session there is none."""
        if self.author.session is not None:
            return self.author.session
        if self.shared_memory:
            return SHARED_MEMORY
        if self.distrust:
            raise UntrustedHeaders(
                f"the headers that this turn began from named a session, and they cannot be trusted: {self.distrust}; "
                "its memory is refused: call again with fresh headers, or give session= if you know the session"
            )
        raise NoSession("this turn has no session, and memory belongs to sessions; give session= to k.turn")

    @property
    def agent(self) -> str | None:
        """The agent whose turn it is."""
        return self.author.agent

    # ── the view ──

    def read(self, look: Callable[[View], T]) -> T:
        """Call `look` with the view; call it again with a newer view each time it raises `EpochMoved`."""
        while True:
            if self._closed or self._ended is not None:
                self.check_open()
            if self._kernel.membership is not None:
                self._kernel.membership.check()
            try:
                return look(self.view)
            except EpochMoved:
                self.catch_up()

    def read_current(self, look: Callable[[View], T]) -> T:
        """Call `look` as `read` does, with a view of the store's newest epoch."""

        def current(view: View) -> T:
            self._check_epoch(view.epoch)
            return look(view)

        return self.read(current)

    def check_open(self) -> None:
        """Raise `TurnClosed` if the turn is closed, or the error that ended it."""
        if self._ended is not None:
            raise self._ended
        if self._closed:
            raise TurnClosed(f"this turn ({self.author.uid}) is closed; begin another with k.turn()")

    def check_not_rolled_back(self) -> None:
        """Raise as `check_open` does, except where a settle has ended the turn; raise where the lease has run out."""
        if not isinstance(self._ended, SettledMeanwhile):
            self.check_open()
        elif self._closed:
            raise TurnClosed(f"this turn ({self.author.uid}) is closed; begin another with k.turn()")
        if self._kernel.membership is not None:
            self._kernel.membership.check()

    @property
    def is_open(self) -> bool:
        """Whether the turn has not ended."""
        return not self._closed and self._ended is None

    @property
    def is_closed(self) -> bool:
        """Whether the turn was closed: a turn that a rollback or a settle has ended need not be."""
        return self._closed

    def close(self) -> None:
        """Make every later operation raise `TurnClosed`; journal what was absorbed since the last commit."""
        self._closed = True
        if self.log.absorbed:
            with suppress(KedgeError):  # the lineage is in every write: only the edge is lost
                self.record_pending()

    def catch_up(self, record: ControlRecord | None = None) -> None:
        """Move the view to the newest control record; raise, and end the turn, where that record ends it."""
        loaded = record or self.backend.control.load()
        with _moving.here:
            if loaded.epoch > self.record.epoch:  # else another thread has loaded a newer one meanwhile
                self.record = loaded
            while True:
                influences = self.log.lineage
                found = moved(self.view, self.base, influences, self.record)
                if isinstance(found, Ends):
                    break
                self.view = found
                if self.log.lineage == influences:  # else another thread has read something else meanwhile
                    return
        self._ended = found.error(self._kernel.names)
        raise self._ended

    def _check_epoch(self, epoch: int) -> None:
        if self.backend.control.epoch() != epoch:
            raise EpochMoved("the level may have changed")

    def level(self) -> Level:
        """Return the level of the agent's feature now; a member need not ask the store."""
        membership = self._kernel.membership
        if membership is None:
            return self.read_current(lambda _: self._recorded_level())
        self.check_open()
        epoch, known = membership.epoch, self.backend.control.known()
        if epoch is None:
            return stricter(membership.safe_level, self._recorded_level())
        if epoch > self.view.epoch or (known is not None and known.epoch > self.view.epoch):
            self.catch_up()
        return self._recorded_level()

    def _recorded_level(self) -> Level:
        return self.record.level(self.author.agent or "")

    upto: None = None  # a turn's view is of the present

    @property
    def label(self) -> str:
        """What its views are of, as the command line names it."""
        return "now" if self.author.session is None else f"session:{self.author.session}"

    def seen(self) -> frozenset[int]:
        """Return the revocable deployments that the turn sees."""
        return self.view.seen

    def saw(self) -> frozenset[int]:
        """Return the deployments that it may have read; where one was rolled back that it read, raise."""
        return self.author.seen | self.read_current(lambda view: view.seen)

    # ── reads ──

    def record_read(self, heads: Iterable[Head]) -> None:
        """Record that these writes (values or deletes) were read."""
        self.log.saw(heads)
        self._check_influences()

    def record_range(self, read: RangeRead, lineages: Iterable[Lineage]) -> None:
        """Record that a range was read, with the lineages of all heads in it."""
        self.log.saw_range(read, lineages)
        self._check_influences()

    def _check_influences(self) -> None:
        """End the turn if what was read was rolled back, and another thread has moved the view, since it was read."""
        if not self.log.is_seen_by(self.view):
            self.catch_up()

    def remember_head(self, key: Key, seq: int, lineage: Lineage) -> None:
        """Remember the put with this seq as the head of a key, for the next compare-and-set."""
        self.log.met(key, seq, lineage)

    def compare_head(self, key: Key, seq: int) -> bool:
        """Return whether `seq` is the remembered head of a key; if so, record it as read and forget it."""
        return self.log.compares(key, seq)

    def join(self, lineage: Lineage) -> None:
        """Add the lineage of something read that is not in the journal, such as a cached result."""
        self.log.join(lineage)
        self._check_influences()

    def join_sender(self, lineage: Lineage, record: ControlRecord | None) -> None:
        """Add the lineage of a message's sender; untrusted peers in it become visible to this turn.

        Raises `NotSeen`, and adds nothing, where the turn does not see that lineage.
        """
        known = record or self.backend.control.load()
        base = self.base | (lineage & known.externals)
        check_seen(lineage, base, known, self._kernel.names)
        with _moving.here:
            self.base |= base
        self.log.join(lineage)

    def pin_artifacts(self, agent: str) -> AgentArtifacts:
        """Read the agent's own artifacts, and those that the view attributes to every agent, at the start of a turn."""
        self.own = own_artifacts(self._kernel, self, self.view, agent)
        self.record_range(self.own.read, self.own.lineages)
        self.imposed = self.read(lambda view: imposed_artifacts(self._kernel, self.record, view))
        self.record_read(self.imposed.heads)
        self.join(frozenset().union(*self.imposed.lineages))
        return self.own

    def record_pin(self, name: str, seq: int) -> None:
        """Record that the head of an artifact was read, by its seq; 0 where none is visible."""
        self.pins.note(name, seq)

    def record_pins(self, prefix: str, seqs: list[int]) -> None:
        """Record that the heads of all artifacts below a prefix were read."""
        self.pins.note_prefix(prefix, seqs)

    def rests_on(self) -> Taken:
        """Return the artifacts that the turn has read, its agent's own included."""
        taken, agent = self.pins.taken(), self.author.agent
        own = {} if agent is None else {f"{agent}/": [head.seq for head in self.own.heads]}
        return Taken(taken.names, taken.prefixes | own)

    def matches_pins(self, taken: Taken) -> bool:
        """Return whether a result that rests on these artifacts is one for this turn: it reads the same heads."""
        if not taken.covers(self.pins.taken()):
            return False
        journal = self.backend.journal
        if taken.names:
            heads = self.read(lambda view: journal.heads(view, "artifacts", "", list(taken.names)))
            if any(seq != (heads[name].seq if name in heads else ABSENT) for name, seq in taken.names.items()):
                return False
        return all(
            seqs == [head.seq for head in self._artifacts_below(prefix)] for prefix, seqs in taken.prefixes.items()
        )

    def _artifacts_below(self, prefix: str) -> list[Head]:
        journal = self.backend.journal
        return self.read(lambda view: journal.range(view, "artifacts", "", prefix, payloads=False)).heads

    def artifacts_key(self) -> bytes:
        """Return the part of a cache key that stands for the agent's artifacts."""
        heads = (*self.own.heads, *self.imposed.heads)
        return encode([self.author.agent or "", *((head.payload or b"").decode() for head in heads)])

    @property
    def stamp(self) -> Lineage:
        """The lineage that a derived write would get now, as deployment numbers: without settled deployments."""
        return self.log.lineage - self.view.settled

    def names(self, numbers: Iterable[int]) -> frozenset[str]:
        """Return the names of deployments."""
        return self._kernel.names(numbers)

    def now(self) -> float:
        """Return the time that freshness is measured against."""
        return self.backend.clock.now()

    def view_time(self) -> float:
        """Return the time that this scope reads at: now, or, for the replay of an input, when that came."""
        if self._rank is None:
            return self.now()
        if self._came_at is None:
            self._came_at = self.backend.control.time_of(self._rank)
        return self._came_at

    def was_visible(self, lineage: Lineage) -> bool:
        """Return whether a write of this lineage would be visible if nothing had been rolled back."""
        return lineage <= self.base | self.record.settled

    # ── writes ──

    def is_source(self, origin: str | None, default: Origin) -> bool:
        """Return whether a write is a source write: `origin` decides, then whether a person acts, then `default`."""
        chosen = check_origin(origin)
        if chosen is None:
            chosen = Origin.SOURCE if self.author.person is not None else default
        return chosen is Origin.SOURCE

    def write(
        self,
        writes: Sequence[Pending],
        *,
        idempotency: str | None = None,
        vectors: VectorBatch | None = None,
        newest: tuple[str, int] | None = None,
        compare: Callable[[], int] | None = None,
    ) -> list[int]:
        """Stamp these writes with the turn's lineage, commit them as one batch, and return their seqs.

        Inside `turn.batch()` they wait for its end, and the result is None.
        """
        if idempotency is not None:
            check_name("the idempotency key", idempotency)
        self._check_influences()
        if self.batch is not None:
            self.batch.add(writes, idempotency, vectors, newest, compare)
            return cast("list[int]", None)
        return self.write_all(writes, idempotency, () if vectors is None else (vectors,), newest) if writes else []

    @property
    def collects(self) -> bool:
        """Whether writes wait for the end of `turn.batch()`."""
        return self.batch is not None

    def may_repeat(self, idempotency: str | None) -> bool:
        """Return whether a write could repeat an earlier call, which only the journal can tell."""
        return idempotency is not None or (self.batch is not None and self.batch.idempotency is not None)

    def write_all(
        self,
        writes: Sequence[Pending],
        idempotency: str | None,
        vectors: tuple[VectorBatch, ...],
        newest: tuple[str, int] | None,
    ) -> list[int]:
        """Commit writes as one batch, whether or not `turn.batch()` is open."""
        try:
            if self.replaying is not None:
                return self._replay(self.replaying, writes, idempotency, vectors, newest)
            return self._append(writes, idempotency, vectors, newest)
        except IdempotencyMismatch:
            for call in () if idempotency is None else self.backend.journal.calls(self.view, idempotency):
                self._record_call(call)  # each was compared
            raise

    def _replay(
        self,
        replaying: Replaying,
        writes: Sequence[Pending],
        idempotency: str | None,
        vectors: tuple[VectorBatch, ...],
        newest: tuple[str, int] | None,
    ) -> list[int]:
        """Write in a turn that replays an input: messages of the original turn that it says again are replaced."""
        replaying.check()
        with replaying.lock.here:
            replaced = self.read(lambda view: replaying.replaced(view, writes))
            self.record_read(replaced)
            batch = (*writes, *map(delete_of, replaced))
            for key, compared in replaying.keys_of(writes, idempotency):
                try:
                    seqs = self._append(batch, key, vectors, newest, compared)
                except IdempotencyMismatch:
                    if compared is None:
                        raise
                    continue  # an earlier attempt wrote something else under this key
                replaying.wrote(key, idempotency, replaced)
                return seqs[: len(writes)]
        raise AssertionError("no end of keys")

    def _append(
        self,
        writes: Sequence[Pending],
        idempotency: str | None,
        vectors: tuple[VectorBatch, ...],
        newest: tuple[str, int] | None,
        compared: int | None = None,
    ) -> list[int]:
        pending = self.log.unjournaled(self.view.settled)

        def append(view: View) -> Appended:
            if not all(write.source for write in writes):
                self._check_level()
            batch = Batch(
                epoch=view.epoch,
                author=self.author,
                writes=tuple(writes),
                lineage=self.log.lineage - view.settled,
                seen=view.seen,
                settled=view.settled,
                reads=pending.reads,
                idempotency=idempotency,
                first_wins=self._rank is not None and compared is None,
                rank=self._rank,
                vectors=vectors,
                newest=newest,
                edges=pending.edges,
                compared=compared,
            )
            return self.backend.journal.append(batch)

        done = self.read(append)
        if done.repeats is None:
            pending.forget()
        else:
            self._record_call(done.repeats)
        self._kernel.consider_upkeep()
        return done.seqs

    def _record_call(self, call: Call) -> None:
        """Record a repeated call as read if another turn made it: its result carries that turn's lineage."""
        if call.turn != self.author.uid:
            self.log.saw_call(call.seqs, call.lineage)

    def _check_level(self) -> None:
        level = self._recorded_level()
        if level is not Level.FULL:
            self._check_epoch(self.view.epoch)  # it may be full again
            raise Frozen(
                f"the feature {self.author.agent!r} is at level {level}: derived writes are refused; "
                "answer without writing, or wait until its level is full"
            )

    # ── edges and samples ──

    def record_edge(self, kind: str, peer: str) -> None:
        """Journal a call or an absorb, with the turn's lineage and what it has read since its last write."""
        self.read_current(lambda _: self.record_pending((kind, peer)))

    def record_pending(self, *edges: tuple[str, str]) -> None:
        """Journal what waits for the next commit, and these edges of the turn."""
        settled = self.view.settled
        pending = self.log.unjournaled(settled)
        own = TurnEdges(self.author, self.log.lineage - settled, pending.reads, edges)
        self.backend.journal.record_edges((*pending.edges, own))
        pending.forget()

    def sample(self, metric: str, value: Any) -> Sample:
        """Return a metric sample of this turn."""
        author = self.author
        return Sample(metric, value, self.now(), author.session, author.agent, self.stamp, self.view.seen)


class Scoped(Protocol[S_co]):
    """A turn or a view, which holds its scope privately."""

    @property
    def _scope(self) -> S_co: ...


def scope_of(owner: Scoped[S_co]) -> S_co:
    """Return the scope of a turn or a view: for Kedge's own modules, which read and write below the stores."""
    return owner._scope  # noqa: SLF001 - the one place that takes it from a user's object
