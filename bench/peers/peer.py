"""Protocol of a store in the comparison, and the values that it exchanges."""

from collections.abc import Sequence
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


class By(IntEnum):
    """Which deployment wrote a row: the tag that every row carries."""

    TINY = 0
    FEW = 1
    REST = 2
    FLOOD = 3
    BAD = 4
    OTHER = 5


class View(StrEnum):
    """What a reader sees: everything, or the writes of some deployments only."""

    ALL = "all"
    NO_FLOOD = "no flood"
    FEW = "5 %"
    TINY = "0.1 %"

    @property
    def tags(self) -> tuple[By, ...]:
        """Whose writes a filter lets through (empty: everybody's)."""
        return _TAGS[self]


_TAGS = {
    View.ALL: (),
    View.NO_FLOOD: (By.TINY, By.FEW, By.REST, By.BAD, By.OTHER),
    View.FEW: (By.TINY, By.FEW),
    View.TINY: (By.TINY,),
}


class Rows(msgspec.Struct, frozen=True):
    """Rows to write. `numbers` name the vectors: an overwritten id comes back under another number."""

    ids: Ints
    vectors: Floats
    numbers: Ints
    by: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, chosen: slice | Ints | npt.NDArray[np.bool_]) -> "Rows":
        """Return some of them."""
        return Rows(self.ids[chosen], self.vectors[chosen], self.numbers[chosen], self.by[chosen])

    def payloads(self) -> list[dict[str, Any]]:
        """Return the payload of each vector, which is returned with each hit."""
        return [
            {"n": int(n), "by": int(by), "lang": LANGUAGES[int(n) % len(LANGUAGES)]}
            for n, by in zip(self.numbers, self.by, strict=True)
        ]


PROBES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""How many lists an IVF index may visit."""
CANDIDATES = (10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 448, 640)
"""How many candidates an HNSW search may keep."""
LANGUAGES = ("en", "de", "fr", "ja", "pt")


class Found(msgspec.Struct, frozen=True):
    """One row as a store returns it."""

    id: int
    number: int
    vector: Floats | None = None


@runtime_checkable
class Peer(Protocol):
    """One store, holding rows (id, vector, payload) that are compared by cosine; the vectors are of unit length.

    One object is used by one thread. `create` or `open` comes first. Whatever writes returns only when a killed
    process would lose nothing of it, as far as the store can do that. `overwrite(…, keep=True)` and `roll_back` belong
    together: they are the fastest method known to us that takes back what one deployment did, and keeps all that
    others wrote.
    """

    title: ClassVar[str]
    index: ClassVar[str]
    """The kind of index, in a few words."""
    method: ClassVar[str]
    """How `roll_back` works, in one sentence."""
    durable: ClassVar[bool]
    """Whether writes survive a kill of the process."""
    efforts: ClassVar[Sequence[int]]
    """Efforts of a search (probes, candidates), ascending; a single 0 if the store has none."""

    def version(self) -> str:
        """Return the version of the store."""
        ...

    def create(self, folder: Path, dim: int, expected: int) -> None:
        """Create a store in an empty folder, for about so many rows."""
        ...

    def open(self, folder: Path) -> None:
        """Open the store of a folder."""
        ...

    def close(self) -> None:
        """Close the store."""
        ...

    def load(self, rows: Rows) -> None:
        """Add a batch of a bulk load; all ids are new."""
        ...

    def build(self) -> None:
        """Bring the index up to date after a bulk load, as the store's manual advises."""
        ...

    def add(self, rows: Rows) -> None:
        """Add rows, durably; all ids are new."""
        ...

    def overwrite(self, rows: Rows, *, keep: bool) -> None:
        """Overwrite rows, durably; keep the old versions where a rollback needs them."""
        ...

    def search(self, query: Floats, k: int, view: View, effort: int) -> list[Found]:
        """Return the nearest rows with their payloads, the nearest first."""
        ...

    def get(self, ids: Sequence[int]) -> dict[int, Found]:
        """Return the rows of these ids that are there, with their vectors."""
        ...

    def count(self) -> int:
        """Return how many rows are there."""
        ...

    def roll_back(self, by: By) -> None:
        """Undo all writes of one deployment: its new rows, and its overwrites that nobody has overwritten since."""
        ...

    def processes(self) -> list[int]:
        """Return the ids of the processes that do the work, this one's included."""
        ...


@runtime_checkable
class Repeatable(Protocol):
    """A peer that can undo a rollback."""

    def reinstate(self, by: By) -> None:
        """Restore the rows that a rollback removed."""
        ...

    def roll_back_and_verify(self, by: By) -> None:
        """Roll back, with all checks of the store."""
        ...


@runtime_checkable
class Rewindable(Protocol):
    """A store with snapshots. A return to one loses all later writes, of every writer."""

    def snapshot(self) -> object:
        """Take one."""
        ...

    def rewind(self, to: object) -> None:
        """Go back to it."""
        ...


@runtime_checkable
class Telling(Protocol):
    """A peer whose answers say whether they are exact."""

    searches: int
    exact_searches: int
