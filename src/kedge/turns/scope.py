"""Turn scope: what a turn's stores read and write through; writes are stamped with what the turn has read."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar, cast

from kedge.errors import Frozen, IdempotencyMismatch, KedgeError
from kedge.model.calls import REFUSED
from kedge.model.checks import check_name, check_origin
from kedge.model.levels import Level
from kedge.model.repeats import Call
from kedge.model.rights import may
from kedge.model.upgrade import GUARD_SINCE
from kedge.model.visibility import View
from kedge.model.writes import Batch, Key, Origin, Pending, TurnEdges, VectorBatch
from kedge.ports.journal import Appended
from kedge.ports.metrics import Sample
from kedge.turns.batch import WriteBatch
from kedge.turns.begin import TurnStart
from kedge.turns.kernel import Kernel
from kedge.turns.permits import refused
from kedge.turns.reading import ReadingScope
from kedge.turns.replaying import Replaying, Replays, delete_of

S_co = TypeVar("S_co", covariant=True)


class TurnScope(ReadingScope):
    """What one turn reads and writes through: a `WritingScope` for its stores, and the state behind its face."""

    def __init__(
        self, kernel: Kernel, start: TurnStart, *, agent: str | None, person: str | None, replays: Replays | None
    ) -> None:
        super().__init__(kernel, start, agent=agent, person=person, replays=replays)
        self.replaying = None if replays is None else Replaying(self.backend, replays, self.author)
        self.batch: WriteBatch | None = None
        self._was_refused = False
        self._refused_by_file: Level | None = None

    def close(self) -> None:
        """Make every later operation raise `TurnClosed`; journal what was absorbed since the last commit."""
        self._closed = True
        refused = () if self._refused_by_file is None else ((REFUSED, str(self._refused_by_file)),)
        if self.log.absorbed or refused:
            with suppress(KedgeError):  # the lineage is in every write: only the edge is lost
                self.record_pending(*refused)

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

    def awaits_end(self, key: Key) -> bool:
        """Return whether a write to a key waits for the end of `turn.batch()`."""
        return self.batch is not None and self.batch.holds(key)

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
        except Frozen as error:
            self.note_refused(self.known_level())
            raise error from None
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
        writes: Sequence[Pending] | Callable[[View], Sequence[Pending]],
        idempotency: str | None,
        vectors: tuple[VectorBatch, ...],
        newest: tuple[str, int] | None,
        compared: int | None = None,
    ) -> list[int]:
        pending = self.log.unjournaled(self.view.settled)

        def append(view: View) -> Appended:
            made = writes(view) if callable(writes) else writes
            if not all(write.source for write in made):
                self._check_level()
            batch = Batch(
                epoch=view.epoch,
                author=self.author,
                writes=tuple(made),
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

    def note_refused(self, level: Level) -> None:
        """Journal, once a turn, that a derived write was refused: the turn's inputs are replayed once it is not.

        A refusal by a stop file waits for no database: that is noted as the turn ends.
        """
        if self._was_refused or not self._kernel.has_fence(GUARD_SINCE):
            return
        if self._stopped(None) is not None:
            self._refused_by_file = level
        else:
            self.record_edge(REFUSED, str(level))
        self._was_refused = True

    @property
    def was_refused(self) -> bool:
        """Whether a derived write of this turn was refused, so that its inputs are replayed again."""
        return self._was_refused

    def journal_act(self, make: Callable[[View], Pending]) -> None:
        """Journal what `make` returns for the store's newest epoch, before the act happens; it may raise instead.

        A database that older processes still write to has no log of acts yet.
        """
        if self._kernel.has_fence(GUARD_SINCE):
            self._append(lambda view: (make(view),), None, (), None)

    def _check_level(self) -> None:
        level = self.known_level()
        if not may(level, "learn", presets=self.record.rights).permits:
            if self._kernel.stopped(self.record, **self._asked(None)) is None:
                self._check_epoch(self.view.epoch)  # it may be looser again; a stop file needs no database
            raise refused(self, "learn", level)

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
