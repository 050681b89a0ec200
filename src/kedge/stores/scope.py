"""What the stores need of whoever reads or writes through them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from kedge.model.lineage import Lineage
from kedge.model.reads import RangeRead
from kedge.model.visibility import View
from kedge.model.writes import Head, Key, Origin, Pending, VectorBatch
from kedge.ports.backend import Backend

T = TypeVar("T")


class Scope(Protocol):
    """A reader: a turn, which collects lineage from all that it is told it saw, or a view, which does not."""

    backend: Backend

    @property
    def session(self) -> str | None:
        """The session whose memory this scope reads."""

    def read(self, look: Callable[[View], T]) -> T:
        """Call `look` with the view, again with a newer one while the control record moves under it."""

    def saw(self, heads: Iterable[Head]) -> None:
        """Take note of writes whose value, or whose delete, was read."""

    def saw_range(self, read: RangeRead, lineages: Iterable[Lineage]) -> None:
        """Take note of a range that was read, and of the lineages of all heads in it."""

    def names(self, numbers: Iterable[int]) -> frozenset[str]:
        """Return the names of deployments."""

    def now(self) -> float:
        """Return the time that freshness is measured against."""

    def was_seen(self, lineage: Lineage) -> bool:
        """Say whether a write of this lineage would be visible, had nothing been rolled back."""


class WritingScope(Scope, Protocol):
    """A turn."""

    def write(
        self, writes: Sequence[Pending], *, idempotency: str | None = None, vectors: VectorBatch | None = None
    ) -> list[int]:
        """Stamp these writes and commit them as one batch; return their seqs."""

    def is_source(self, origin: str | None, default: Origin) -> bool:
        """Say whether a write is a source write: as asked for, else by whose turn this is, else by the store."""

    def derive_key(self) -> bytes:
        """Return the digests of the agent's artifact heads, which are part of each cache key."""

    def met(self, key: Key, seq: int, lineage: Lineage) -> None:
        """Remember the put that was last known as a key's head, by its seq."""

    def compares(self, key: Key, seq: int) -> bool:
        """Say whether this is the put that was last known as a key's head: then it counts as read, and is forgotten."""

    def joined(self, lineage: Lineage) -> None:
        """Take on the lineage of something read that is not in the journal."""

    @property
    def stamp(self) -> Lineage:
        """The lineage that a write would get now."""
