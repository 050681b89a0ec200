"""Scopes: what the stores read and write through."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar, cast

from kedge.model.artifact_reads import Pins, Taken
from kedge.model.codec import Codec
from kedge.model.lineage import Lineage
from kedge.model.reads import RangeRead
from kedge.model.visibility import View
from kedge.model.writes import Head, Key, Origin, Pending, VectorBatch
from kedge.ports.backend import Backend

T = TypeVar("T")


class Scope(Protocol):
    """Reads at one view. A turn's scope adds the lineage of each recorded read to the turn; a view's ignores it."""

    backend: Backend

    @property
    def codec(self) -> Codec | None:
        """The codec of values that JSON cannot hold, if this process has one."""

    @property
    def session(self) -> str | None:
        """The session whose memory this scope reads."""

    @property
    def memory_space(self) -> str:
        """The space of the session's memory; raises `NoSession` or `UntrustedHeaders` where there is none."""

    def read(self, look: Callable[[View], T]) -> T:
        """Call `look` with the view; call it again with a newer view each time it raises `EpochMoved`."""

    def record_read(self, heads: Iterable[Head]) -> None:
        """Record that these writes (values or deletes) were read."""

    def record_range(self, read: RangeRead, lineages: Iterable[Lineage]) -> None:
        """Record that a range was read, with the lineages of all heads in it."""

    def record_pin(self, name: str, seq: int) -> None:
        """Record that the head of an artifact was read, by its seq; 0 where none is visible."""

    def record_pins(self, prefix: str, seqs: list[int]) -> None:
        """Record that the heads of all artifacts below a prefix were read."""

    def names(self, numbers: Iterable[int]) -> frozenset[str]:
        """Return the names of deployments."""

    def now(self) -> float:
        """Return the time that freshness is measured against."""

    def view_time(self) -> float:
        """Return the time that this scope reads at: what has expired by then is absent."""

    def was_visible(self, lineage: Lineage) -> bool:
        """Return whether a write of this lineage would be visible if nothing had been rolled back."""


class WritingScope(Scope, Protocol):
    """Reads and writes for one turn."""

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

        `newest`: a session and the seq that its newest visible message must have; else it raises `HeadMoved`.
        Inside `turn.batch()` the writes wait for its end, and the result is None; see `only`. There, `compare` is
        called after a concurrent write: it returns the seq to expect now, of the first write's head or as `newest`.
        """

    def awaits_end(self, key: Key) -> bool:
        """Return whether a write to a key waits for the end of `turn.batch()`."""

    def may_repeat(self, idempotency: str | None) -> bool:
        """Return whether a write could repeat an earlier call, which only the journal can tell."""

    def is_source(self, origin: str | None, default: Origin) -> bool:
        """Return whether a write is a source write: `origin` decides, then whether a person acts, then `default`."""

    def artifacts_key(self) -> bytes:
        """Return the part of a cache key that stands for the agent's own artifacts."""

    def matches_pins(self, taken: Taken) -> bool:
        """Return whether a result that rests on these artifacts is one for this turn: it reads the same heads."""

    @property
    def pins(self) -> Pins:
        """The artifacts that the turn has read so far, without its agent's own."""

    def remember_head(self, key: Key, seq: int, lineage: Lineage) -> None:
        """Remember the put with this seq as the head of a key, for the next compare-and-set."""

    def compare_head(self, key: Key, seq: int) -> bool:
        """Return whether `seq` is the remembered head of a key; if so, record it as read and forget it."""

    def join(self, lineage: Lineage) -> None:
        """Add the lineage of something read that is not in the journal, such as a cached result."""

    @property
    def stamp(self) -> Lineage:
        """The lineage that a derived write would get now, as deployment numbers."""


def only(seqs: list[int]) -> int:
    """Return the seq of a call's only write; None inside `turn.batch()`, where writing calls return nothing."""
    return seqs[0] if seqs else cast("int", None)
