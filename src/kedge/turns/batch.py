"""Write batch of a turn: writing calls that commit together, across stores and origins."""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from kedge.errors import BatchOpen, InvalidValue
from kedge.model.checks import check_name
from kedge.model.writes import NO_SEQ, Key, Pending, VectorBatch
from kedge.ports.journal import HeadMoved
from kedge.support.fork_lock import ForkSafeLock

if TYPE_CHECKING:
    from kedge.turns.scope import TurnScope

_beginning = ForkSafeLock()  # held while a batch becomes its turn's
_inside: ContextVar[frozenset["WriteBatch"]] = ContextVar("kedge_batches", default=frozenset())


class WriteBatch:
    """Writing calls of one turn, committed as one when the block ends: `with turn.batch() as batch:`.

    Inside, they return None, and reads see nothing of them. `seqs`: their seqs in order, once the block has ended. An
    exception in the block writes nothing.
    """

    def __init__(self, scope: "TurnScope", idempotency: str | None) -> None:
        self.seqs: list[int] = []
        self.idempotency = None if idempotency is None else check_name("the idempotency key", idempotency)
        self._scope = scope
        self._writes: list[Pending] = []
        self._vectors: list[VectorBatch] = []
        self._compares: dict[int, Callable[[], int]] = {}
        self._newest: tuple[str, int] | None = None
        self._compares_newest: list[Callable[[], int]] = []
        self._is_used = False
        self._is_over = False
        self._lock = ForkSafeLock()  # threads and tasks that run in the block's context write into it

    def __repr__(self) -> str:
        """Return one line."""
        return f"<WriteBatch of {len(self._writes)} writes>"

    # ── the block ──

    def begin(self) -> None:
        """Collect the writing calls of this context from now on."""
        self._scope.check_open()
        if self._is_used:
            raise BatchOpen("this batch was used before; call turn.batch() for each block")
        with _beginning.here:
            if self._scope.batch is not None:
                raise BatchOpen("a batch of this turn is open; end its block first: batches do not nest")
            self._is_used, self._scope.batch = True, self
        _inside.set(_inside.get() | {self})

    def leave(self) -> None:
        """Stop collecting."""
        if self._scope.batch is self:
            self._scope.batch = None
        _inside.set(_inside.get() - {self})

    def commit(self, *, idempotency: str | None = None) -> None:
        """Commit what was collected; the batch's own idempotency key comes first."""
        with self._lock.here:
            self._scope.batch, self._is_over = None, True
        key = self.idempotency or idempotency
        while self._writes:
            try:
                self.seqs = self._scope.write_all(self._writes, key, tuple(self._vectors), self._newest)
            except HeadMoved:
                self._compare_again()
            else:
                return

    def __enter__(self) -> Self:
        """Begin collecting."""
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit all, or, after an exception, nothing."""
        try:
            if kind is None:
                self.commit()
        finally:
            self.leave()

    # ── its calls ──

    def add(
        self,
        writes: Sequence[Pending],
        idempotency: str | None,
        vectors: VectorBatch | None,
        newest: tuple[str, int] | None,
        compare: Callable[[], int] | None,
    ) -> None:
        """Collect one call. `compare` returns the head that its first write expects, or `newest`, read anew."""
        if self not in _inside.get():
            raise BatchOpen(
                "a batch of this turn is open in another thread or task; write inside its block, or after it"
            )
        if idempotency is not None:
            raise InvalidValue(
                f"invalid idempotency={idempotency!r} inside a batch: all its calls commit as one; write "
                "turn.batch(idempotency=…)"
            )
        with self._lock.here:
            if self._is_over:
                raise BatchOpen("this batch has ended, and holds nothing of this call; write after its block")
            if newest is not None and compare is not None:
                self._expect_newest(newest, compare)
            elif compare is not None:
                self._compares[len(self._writes)] = compare
            if vectors is not None:
                self._vectors.append(msgspec.structs.replace(vectors, first=len(self._writes) + vectors.first))
            self._writes += writes

    def holds(self, key: Key) -> bool:
        """Return whether a write to a key was collected."""
        return any(write.key == key for write in self._writes)

    def _expect_newest(self, newest: tuple[str, int], compare: Callable[[], int]) -> None:
        """Expect the newest message as a call does. Where an earlier one has expected another, both compare again."""
        differs = self._newest not in {None, newest}
        self._newest = (newest[0], NO_SEQ) if differs else newest
        self._compares_newest.append(compare)

    def _compare_again(self) -> None:
        """Compare with the newest heads after a concurrent write; raise `ExpectationFailed` where one differs."""
        for place, compare in self._compares.items():
            self._writes[place] = msgspec.structs.replace(self._writes[place], expect=compare())
        if self._newest is not None:
            for again in self._compares_newest:
                self._newest = self._newest[0], again()
