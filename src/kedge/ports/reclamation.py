"""Reclamation: removing the content of superseded writes that no view can need."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from kedge.model.lineage import Lineage
from kedge.model.retention import Version

SUCCESSORS_MAX = 8


class SpaceOf(msgspec.Struct, frozen=True):
    """A space by its id in the database."""

    id: int
    store: str
    space: str


class Versions(msgspec.Struct, frozen=True):
    """All writes at the keys that a part of the journal decides, key by key, and the sets behind their lineages."""

    keys: Sequence[Sequence[Version]]
    members: Mapping[int, Lineage]


class Sampled(msgspec.Struct, frozen=True):
    """A write of a sample: the bytes of its content, and a few (seq, lineage) above it at its key."""

    store: str
    space: str
    seq: int
    bytes: int
    lineage: Lineage
    above: tuple[tuple[int, Lineage], ...]


class Erased(msgspec.Struct, frozen=True):
    """How many writes lost their content, and how many bytes that was."""

    writes: int
    bytes: int


class Reclamation(Protocol):
    """The content of superseded writes. What may go is decided by `kedge.model.retention.reclaimable`.

    Laws:

    - `versions` of consecutive parts up to one `horizon` names every key that has at least two writes, one of them up
      to the horizon, exactly once: in the part that holds its last write up to the horizon.
    - `erase` is one transaction: it raises `EpochMoved`, and erases nothing, if the control record has left `epoch`.
    - Payload and salt go; the row with its seq, key, lineage and digest stays. What is gone stays gone.
    - Writers wait at most for one part.
    """

    def spaces(self, stores: Iterable[str]) -> list[SpaceOf]:
        """Return the spaces of these stores."""

    def versions(self, first: int, upto: int, horizon: int, spaces: Sequence[int]) -> Versions:
        """Return the writes at the keys whose last write up to `horizon` has a seq from `first` to `upto`."""

    def erase(self, seqs: Sequence[int], epoch: int) -> Erased:
        """Remove the content of these writes."""

    def sample(self, seqs: Sequence[int]) -> list[Sampled]:
        """Return those of these seqs that are writes. The cost is bounded by their number."""

    def vector_bytes(self) -> int:
        """Return how many bytes the vectors take, by the counters of their rows."""

    def claim(self, now: float, seconds: float) -> bool:
        """Claim the next pass in the background; False if a process has done so less than so many seconds ago."""

    def progress(self) -> bytes | None:
        """Return what `set_progress` kept last, or None."""

    def set_progress(self, progress: bytes) -> None:
        """Keep how far the journal was looked at, under which pins."""
