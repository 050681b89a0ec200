"""Invariants of the fleet simulation, checked by real time and without the protocol's own state."""

from typing import Any

import msgspec

from kedge.model.lineage import Lineage


class Violation(AssertionError):
    """A law was broken."""


class Made(msgspec.Struct):
    """A flip: its real time and its epoch."""

    operation: str
    epoch: int
    at: float


class Checks:
    """The observer: it knows the real time and all events, as no node does."""

    def __init__(self, drift: float) -> None:
        self.drift = drift
        self.flips: list[Made] = []
        self.converged: dict[str, float] = {}
        self.acknowledged: dict[str, tuple[int, Lineage]] = {}  # idempotency key → (seq, what truly influenced it)
        self.true_lineage: dict[str, Lineage] = {}
        self.served = 0
        self.seen = 0

    def serve(self, who: str, knows: int, lease_seconds: float, now: float) -> None:
        """Check a serving member: not at an older epoch more than a lease after a flip, nor after convergence."""
        self.served += 1
        for flip in self.flips:
            if knows >= flip.epoch:
                continue
            late = now - flip.at
            if late > lease_seconds / (1 - self.drift) + 1e-6:
                raise Violation(f"{who} serves epoch {knows}, {late:.3f} s after the flip to {flip.epoch}")
            over = self.converged.get(flip.operation)
            if over is not None and over < now:
                raise Violation(f"{who} serves epoch {knows}, though {flip.epoch} is said to have converged")

    def converge(self, operation: str, epoch: int, members: list[Any], now: float) -> None:
        """Check a claim of convergence: no node may still be able to serve an older epoch."""
        self.converged.setdefault(operation, now)
        for member in members:
            if member.could_serve and member.knows < epoch:
                who = f"{member.node.name} can serve epoch {member.knows}"
                raise Violation(f"{who}, but {epoch} is said to have converged")

    def see(self, who: str, idempotency: str, rolled_back: Lineage) -> None:
        """Check an answered read: nothing in it was hidden by a rollback at that time."""
        self.seen += 1
        hidden = self.true_lineage[idempotency] & rolled_back
        if hidden:
            raise Violation(f"{who} was shown {idempotency}, which {sorted(hidden)} had influenced")

    def finish(self, store: Any) -> None:
        """Check the end: every rollback is finished, and every acknowledged write exists once."""
        left = store.unfinished()
        if left:
            raise Violation(f"rollbacks that never ended: {[flip.operation for flip in left]}")
        if store.record.entries:
            raise Violation(f"still held: {store.record.entries}")
        # The part of the idempotency key before the slash names the call.
        by_key: dict[str, list[int]] = {}
        for write in store.journal:
            by_key.setdefault(write.idempotency.partition("/")[0], []).append(write.seq)
        for key, (seq, _) in self.acknowledged.items():
            if seq not in by_key.get(key, ()):
                raise Violation(f"the acknowledged write {key} is lost")
        doubled = [key for key, seqs in by_key.items() if len(seqs) > 1]
        if doubled:
            raise Violation(f"written twice: {doubled}")
