"""Questions about the whole journal that plans, verification, replay and purge ask."""

from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from kedge.model.lineage import Lineage
from kedge.model.reads import Reads
from kedge.model.visibility import View
from kedge.model.writes import Head, Key


class Counted(msgspec.Struct, frozen=True):
    """How many writes of a set of lineages one space holds."""

    store: str
    space: str
    puts: int
    deletes: int


class Influenced(msgspec.Struct, frozen=True):
    """A turn that a deployment influenced."""

    turn: int
    uid: str
    agent: str | None
    session: str | None
    parent: str | None
    replays: int | None
    derived: bool = False
    sources: bool = False
    embeds: bool = False


class Source(msgspec.Struct, frozen=True):
    """A source write, with where it was made."""

    key: Key
    seq: int
    rank: int
    at: float
    agent: str | None
    person: str | None
    session: str | None
    turn: int = 0
    payload: bytes | None = None


class Unfed(msgspec.Struct, frozen=True):
    """A document that is visible in a view, with a vector that is not: who wrote that, and what stands there instead.

    `document` and `covering` are the seqs of the heads; `covering` is 0 where no vector is there to be found.
    """

    name: str
    document: int
    rank: int
    covering: int
    turn: int
    agent: str | None
    session: str | None


class Looked(msgspec.Struct, frozen=True):
    """The seq and lineage of what readers get at a key, and the seq that they should get, by every write to it."""

    key: Key
    seq: int | None
    lineage: Lineage
    truth: int | None


class Survey(Protocol):
    """Read-only questions, save `erase` and `mark_replayed`."""

    def lineages_with(self, numbers: Iterable[int], without: Iterable[int] = ()) -> list[int]:
        """Return the ids of all lineages that hold one of these numbers, and none of those in `without`."""

    def counted(self, lineages: Iterable[int]) -> list[Counted]:
        """Count the writes of these lineages by space, from the counters."""

    def keys_of(self, lineages: Iterable[int], limit: int) -> tuple[list[Key], int]:
        """Return up to `limit` keys that have such a write among their newest, and how many there are in all."""

    def head_pairs(self, before: View, after: View, keys: Iterable[Key]) -> list[tuple[Head | None, Head | None]]:
        """Return each key's head in two views of the present."""

    def influenced(self, lineages: Iterable[int]) -> list[Influenced]:
        """Return the turns whose lineage is one of these, in the order in which they first wrote.

        `derived` says whether a turn made derived writes of these lineages, `sources` whether it made source writes;
        `embeds` that all the derived ones are vectors of documents: of ids that the same-named documents have, too.
        """

    def sources_inside(self, lineages: Iterable[int]) -> list[Source]:
        """Return the source writes that turns of these lineages made, without payloads, in order of seq."""

    def turns(self, uids: Iterable[str]) -> list[Influenced]:
        """Return those of these turns that have written."""

    def sources_of(self, turns: Iterable[int]) -> list[Source]:
        """Return the source writes that these turns made, without payloads, in order of seq."""

    def sources_at(self, seqs: Iterable[int]) -> list[Source]:
        """Return the source writes at these seqs, without payloads."""

    def source_at(self, seq: int) -> Source | None:
        """Return the source write at a seq, with its payload, or None if what is there is no source write."""

    def newest_messages(self, asked: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Source]:
        """Return the newest source message of each session up to a seq, without payload, where there is one."""

    def writers_of(self, seqs: Iterable[int]) -> dict[int, Influenced]:
        """Return the turn that wrote each seq."""

    def reads_of(self, turns: Iterable[int]) -> dict[int, list[Reads]]:
        """Return all that each of these turns has read, in the order of its writes."""

    def written_by_both(self, number: int, limit: int) -> list[str]:
        """Return up to `limit` keys, as store:space/name, each once, that a deployment and others have both written."""

    def replayed_upto(self, seqs: Iterable[int]) -> dict[int, int]:
        """Return the greatest turn that the replays of each input have made good, where there is one."""

    def mark_replayed(self, seq: int, turn: int, uid: str) -> None:
        """Record that an input was replayed for the sake of the turns up to one."""

    def names_after(self, store: str, space: str, name: str, limit: int) -> list[str]:
        """Return the next `limit` names that were ever written in a space, in order, visible or not."""

    def names_count(self, store: str, space: str) -> int:
        """Return how many names were ever written in a space."""

    def names_since(self, store: str, space: str, seq: int, without: Iterable[int] = ()) -> list[str]:
        """Return the names that were written in a space after a seq, save by writes of the lineages in `without`."""

    def embedded_in(self, heads: Iterable[Head]) -> dict[int, str]:
        """Return the embedding space of each of these vector writes, by seq."""

    def made_of(self, collection: str, vectors: Iterable[Head]) -> dict[int, int]:
        """Return, by the seq of each vector, the seq of the version of its document that its turn had read.

        Only what the turn had read for that very batch counts; those of turns that had read none are left out.
        """

    def unfed(self, view: View, lineages: Iterable[int], collection: str, *, covered: bool) -> list[Unfed]:
        """Return the visible documents whose vectors are of these lineages, in order of name.

        Only those where no vector that is newer than the document is visible, unless `covered`.
        """

    def true_head(self, view: View, key: Key) -> Head | None:
        """Return a key's head by looking at every write to it: slow, and by no cache or index of heads."""

    def look_at(self, view: View, keys: Iterable[Key]) -> list[Looked]:
        """Return what readers get at each key beside the truth, as of one instant: by every write to it."""

    def sample_keys(self, stores: Iterable[str], count: int) -> list[Key]:
        """Return up to `count` keys spread evenly over the journal."""

    def vector_agreement(self, view: View, count: int) -> tuple[int, int]:
        """Compare the searchable state of up to `count` vector rows with the journal: (rows that agree, rows)."""

    def erase(self, lineages: Iterable[int], progress: Callable[[int, int], None] | None = None) -> int:
        """Take payloads and salts away from all writes of these lineages; return how many. May be repeated."""

    def purge_reach(self, lineages: Iterable[int]) -> int | None:
        """Return the first seq of these lineages, or None where there is none."""
