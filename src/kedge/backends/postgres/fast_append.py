"""Fast append: one write as one statement, in one round trip instead of two.

Most writes come from a turn that has written before, to a key where no other lineage has a head. Such a write becomes
the head of its lineage, and nothing supersedes it. The statement checks this under the lane of the key, and does
nothing where it does not hold; the caller then uses the general path.
"""

import os
from collections.abc import Callable
from typing import Any

import msgspec

from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.states import States
from kedge.model.lineage import EMPTY, Lineage
from kedge.model.visibility import View
from kedge.model.writes import SALT_BYTES, Batch, digest


class FastAppend(msgspec.Struct, frozen=True):
    """The parameters of `append_one`; the turn and the digest find the write if its answer is lost."""

    parameters: tuple[Any, ...]
    turn: int
    digest: bytes


class FastAppender:
    """Plans fast appends from caches. `tick_seconds` is the least time between two entries."""

    def __init__(
        self, interner: Interner, states: States, now: Callable[[], float | None], tick_seconds: float
    ) -> None:
        self._interner = interner
        self._states = states
        self._now = now
        self._tick_seconds = tick_seconds
        self._purged: tuple[int, Lineage] = (0, EMPTY)
        self._fence = 0

    def learn_fence(self, fence: int) -> bool:
        """Cache the fence: statements planned before it was raised do nothing. Return whether it has changed."""
        is_raised, self._fence = fence != self._fence, fence
        return is_raised

    def learn(self, epoch: int, purged: Lineage) -> None:
        """Cache the purged deployments at an epoch."""
        self._purged = (epoch, purged)

    def plan(self, batch: Batch, lanes: tuple[int, ...], known: tuple[int, int] | None) -> FastAppend | None:
        """Return the fast append of a batch, or None where the caches do not allow one.

        `known` has the ids of the batch's turn and of its lineage, from its last write.
        """
        stamp = self._interner.cached_lineage(batch.lineage)
        if known is None or stamp is None or known[1] != stamp or len(batch.writes) != 1:
            return None
        write, turn = batch.writes[0], known[0]
        lineage, members = (0, EMPTY) if write.source else (stamp, batch.lineage)
        space = self._interner.cached_space(write.key.store, write.key.space)
        state = self._states.cached(lineage)
        if space is None or state is None or not self._is_plain(batch, members):
            return None
        salt = os.urandom(SALT_BYTES)
        mark = digest(salt, write.payload, b"")
        parameters = (
            list(lanes), batch.epoch, self._fence, write.expect, self._now(), self._tick_seconds, space,
            write.key.name or None, lineage, state, write.payload is None, write.source, stamp,
            None if write.fresh_for is None else float(write.fresh_for), mark, salt, write.payload, turn, batch.reads,
            batch.idempotency,
        )  # fmt: skip
        return FastAppend(parameters, turn, mark)

    def _is_plain(self, batch: Batch, members: Lineage) -> bool:
        """Return whether the batch ranks at its seq, has no vector, and cannot be refused for what is cached."""
        write = batch.writes[0]
        return (
            batch.rank is None
            and batch.newest is None
            and not batch.edges
            and write.rank is None
            and write.lineage is None
            and not batch.vectors
            and write.key.store != "vectors"
            and (bool(write.key.name) or write.key.store == "memory")
            and (not batch.lineage or (self._purged[0] == batch.epoch and not batch.lineage & self._purged[1]))
            and (write.expect is None or View(batch.epoch, batch.seen, batch.settled).sees(members))
        )
