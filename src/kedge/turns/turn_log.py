"""Log of a turn: its lineage, its reads, and the turns of this process that it called, until they are journaled.

Threads and tasks share a turn, so they share its log. A commit takes a copy of what is not journaled yet, and forgets
that copy once it is committed: what other threads have read meanwhile stays. A read that two commits took is in both.
"""

from collections.abc import Callable, Iterable
from itertools import count
from typing import NamedTuple

from kedge.model.lineage import Lineage
from kedge.model.reads import RangeRead, ReadLog, Reads, pack
from kedge.model.repeats import Call
from kedge.model.visibility import View
from kedge.model.writes import Author, Head, Key, TurnEdges
from kedge.support.fork_lock import ForkSafeLock

_places = count()  # a caller begins before those that it calls


class Part(NamedTuple):
    """What one log had not journaled at one moment."""

    lineage: Lineage
    reads: Reads | None
    caller: "TurnLog | None"
    absorbed: tuple["TurnLog", ...]


class Unjournaled(NamedTuple):
    """What a commit has to journal: the turn's own reads, and the edges to other turns of this process."""

    reads: bytes | None
    edges: tuple[TurnEdges, ...]
    forget: Callable[[], None]  # to be called once it is committed


class TurnLog:
    """What a turn has read and whom it called. Its lock is never held over I/O, nor together with another log's."""

    def __init__(self, author: Author, lineage: Lineage) -> None:
        self.author = author
        self.lock = ForkSafeLock()
        self.place = next(_places)  # among the turns of this process, in the order of their beginning
        self._reads = ReadLog()
        self._reads.members.update(lineage)
        self._caller: TurnLog | None = None
        self._absorbed: list[TurnLog] = []

    @property
    def members(self) -> Lineage:
        """The deployments that have influenced the turn, settled ones included."""
        return frozenset(self._reads.members)

    def is_seen_by(self, view: View) -> bool:
        """Return whether a view sees all deployments that have influenced the turn."""
        with self.lock.here:
            return view.sees(frozenset(self._reads.members))

    # ── reads ──

    def saw(self, heads: Iterable[Head]) -> None:
        """Record writes that were read, deletes included."""
        with self.lock.here:
            self._reads.saw(heads)

    def saw_range(self, read: RangeRead, lineages: Iterable[Lineage]) -> None:
        """Record a range that was read, with the lineages of all heads in it."""
        with self.lock.here:
            self._reads.saw_range(read, lineages)

    def saw_call(self, call: Call) -> None:
        """Record a call of another turn that was read."""
        with self.lock.here:
            self._reads.saw_call(call.seqs, call.lineage)

    def join(self, lineage: Lineage) -> None:
        """Add the lineage of something read that is not in the journal."""
        with self.lock.here:
            self._reads.members |= lineage

    def met(self, key: Key, seq: int, lineage: Lineage) -> None:
        """Remember the put that was last known as a key's head, by its seq."""
        with self.lock.here:
            self._reads.met(key, seq, lineage)

    def compares(self, key: Key, seq: int) -> bool:
        """Return whether this is the known head of a key; it then counts as read and is forgotten."""
        with self.lock.here:
            return self._reads.compares(key, seq)

    # ── other turns of this process ──

    def begin_in(self, caller: "TurnLog") -> None:
        """Note the turn that called this one, to be journaled with the first commit of this one."""
        self._caller = caller

    def absorb(self, callee: "TurnLog") -> int:
        """Note a turn whose lineage this one has joined, to be journaled with the next commit; return how many wait."""
        with self.lock.here:
            if callee not in self._absorbed:
                self._absorbed.append(callee)
            return len(self._absorbed)

    @property
    def has_absorbed(self) -> bool:
        """Whether turns were absorbed that are not journaled yet."""
        return bool(self._absorbed)

    # ── the journal ──

    def unjournaled(self, settled: Lineage) -> Unjournaled:
        """Return what the next commit of this turn has to journal; `settled` drop out of lineages.

        Besides its own reads, these are those of its caller where that call is not journaled yet, of the turns that it
        has absorbed, and of the callers and absorbed turns of these: each cause that the journal lacks.
        """
        parts: dict[TurnLog, Part] = {}
        left = [self]
        while left:
            log = left.pop()
            if log not in parts:
                part = parts[log] = log.pending()
                left += part.absorbed if part.caller is None else (*part.absorbed, part.caller)
        reads = parts[self].reads

        def forget() -> None:
            for log, part in parts.items():
                log.forget(part)

        edges = () if len(parts) == 1 else _edges_of(self, parts, settled)
        return Unjournaled(None if reads is None else pack(reads), edges, forget)

    def pending(self) -> Part:
        """Return what is not journaled yet."""
        with self.lock.here:
            reads = self._reads
            return Part(frozenset(reads.members), reads.pending(), self._caller, tuple(self._absorbed))

    def forget(self, part: Part) -> None:
        """Forget what has been journaled."""
        with self.lock.here:
            if part.reads is not None:
                self._reads.forget(part.reads)
            if part.caller is not None:
                self._caller = None
            if part.absorbed:
                self._absorbed = [log for log in self._absorbed if log not in part.absorbed]


def _edges_of(own: TurnLog, parts: dict[TurnLog, Part], settled: Lineage) -> tuple[TurnEdges, ...]:
    """Return what to journal of each turn, callers first: turns are numbered in this order, and locked in it."""
    ordered = sorted(parts, key=lambda log: log.place)
    edges: dict[TurnLog, list[tuple[str, str]]] = {log: [] for log in ordered}
    for log in ordered:
        caller = parts[log].caller
        if caller is not None:
            edges[caller].append(("child", log.author.uid))
    for log in ordered:
        edges[log] += [("absorb", absorbed.author.uid) for absorbed in parts[log].absorbed]
    return tuple(
        TurnEdges(
            log.author,
            parts[log].lineage - settled,
            None if log is own or (reads := parts[log].reads) is None else pack(reads),
            tuple(edges[log]),
        )
        for log in ordered
    )
