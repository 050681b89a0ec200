"""Provenance of turns: what they wrote, what they read, and the source writes behind them."""

from collections.abc import Iterable
from typing import Protocol

from kedge.model.calls import Edge
from kedge.model.provenance import Reach, Source, TurnRecord, Written
from kedge.model.reads import Reads


class Provenance(Protocol):
    """Questions of replay and of plans: which turns were influenced, and which source inputs did they work on?

    Laws:

    - Read-only. A call may be repeated at any time; each answers from one snapshot of committed writes.
    - Append-only: an answer may gain turns, source writes and reads later, and loses none. A purge removes payloads.
    - Unfiltered: hidden turns and writes are included. The caller applies the view.
    - A source write is a put with origin `source`; deletes and derived writes are never returned as one.
    - What is asked for and does not exist is left out of the answer; it raises nothing.
    """

    def influenced_turns(self, lineages: Iterable[int], after: int = 0, limit: int | None = None) -> list[TurnRecord]:
        """Return the turns whose lineage is one of these, with their flags, in the order of their first write.

        Of those after a turn, up to a limit.
        """

    def refused_turns(self, after: int = 0, limit: int | None = None) -> list[TurnRecord]:
        """Return the turns to which a derived write was refused, with their flags, as if they had derived something.

        In the order of their first write, those after a turn, up to a limit. What was answered since is left out.
        """

    def newest_influenced(self, lineages: Iterable[int], limit: int) -> list[int]:
        """Return the newest turns whose lineage is one of these, the newest first."""

    def reach(self, lineages: Iterable[int]) -> Reach:
        """Count the turns whose lineage is one of these, and their sessions; name their agents."""

    def turns(self, uids: Iterable[str]) -> list[TurnRecord]:
        """Return those of these turns that have written, in any order."""

    def callers(self, uids: Iterable[str]) -> list[TurnRecord]:
        """Return those of these turns that have written, and all that called them, directly or not; each once."""

    def newest_edges(self, limit: int) -> list[Edge]:
        """Return the newest calls and absorptions of headers, the oldest first."""

    def newest_turns(self, limit: int) -> list[TurnRecord]:
        """Return the turns that wrote, called or absorbed last for the first time, the oldest first."""

    def begun_before(self, moment: float, after: int, limit: int) -> list[tuple[float, TurnRecord]]:
        """Return turns after one that began before a moment, with when they did: the first of them, in order."""

    def budgets(self, seqs: Iterable[int]) -> dict[int, tuple[float, float]]:
        """Return the time and the freshness budget of the facts of the context at these seqs that have one."""

    def count_messages(self, turns: Iterable[int]) -> dict[int, int]:
        """Count the messages that each of these turns wrote; those without any are left out."""

    def writers_of(self, seqs: Iterable[int]) -> dict[int, TurnRecord]:
        """Return the turn that wrote each seq."""

    def written_since(self, turn: int) -> list[Written]:
        """Count the writes of this turn and later ones by agent and space, sorted.

        The agent is empty for persons, and for turns without an agent. Those of control changes are left out.
        """

    def spaces_of(self, seqs: Iterable[int]) -> dict[int, tuple[str, str]]:
        """Return the store and space of each write."""

    def reads_of(self, turns: Iterable[int]) -> dict[int, list[Reads]]:
        """Return the read logs of each turn, in the order of its writes."""

    def sources_of_turns(self, turns: Iterable[int]) -> list[Source]:
        """Return the source writes that these turns made, without payloads, in order of seq."""

    def corrections(self, turns: Iterable[int], limit: int) -> list[Source]:
        """Return the newest source writes, up to a limit, to keys that these turns had derived before; no messages."""

    def sources_at(self, seqs: Iterable[int]) -> list[Source]:
        """Return the source writes at these seqs, without payloads, in any order."""

    def source_with_payload(self, seq: int) -> Source | None:
        """Return the source write at a seq with its payload; None if there is none. A purged payload is None."""

    def newest_messages(self, asked: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Source]:
        """Return the newest source message of each (session, seq) up to that seq, without payload."""
