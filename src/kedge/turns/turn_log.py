"""Log of a turn: its lineage, its reads, and the turns of this process that it called, until they are journaled.

Threads and tasks share a turn, so they share its log. A commit takes a copy of what is not journaled yet, and forgets
that copy once it is committed: what other threads have read meanwhile stays. A read that two commits took is in both.

There is no lock: each step is one operation on a set or a dict, which is atomic.
"""

from itertools import count
from typing import NamedTuple

from kedge.model.lineage import EMPTY, Lineage
from kedge.model.reads import ReadLog, Reads, pack
from kedge.model.visibility import View
from kedge.model.writes import Author, TurnEdges

_places = count()  # a caller begins before those that it calls


class _Part(NamedTuple):
    """What one log had not journaled at one moment."""

    lineage: Lineage
    reads: Reads | None
    caller: "TurnLog | None"
    absorbed: tuple["TurnLog", ...]


class Unjournaled:
    """What a commit has to journal: the turn's own reads, and the edges to other turns of this process."""

    __slots__ = ("_parts", "edges", "reads")

    def __init__(self, reads: bytes | None, edges: tuple[TurnEdges, ...], parts: "dict[TurnLog, _Part]") -> None:
        self.reads, self.edges, self._parts = reads, edges, parts

    def forget(self) -> None:
        """Forget it: it is committed."""
        for log, part in self._parts.items():
            if part.reads is not None:
                log.forget(part.reads)
            if part.caller is not None:
                log.caller = None
            for absorbed in part.absorbed:
                log.absorbed.pop(absorbed, None)


class TurnLog(ReadLog):
    """What a turn has read and whom it called.

    `caller`: of this process, to be journaled with the first commit; `absorbed`: turns to be journaled with the next.
    """

    def __init__(self, author: Author, lineage: Lineage) -> None:
        super().__init__()
        self.author = author
        self.members |= lineage
        self.place = next(_places)  # among the turns of this process, in the order of their beginning
        self.caller: TurnLog | None = None
        self.absorbed: dict[TurnLog, None] = {}

    def restart(self, lineage: Lineage) -> None:
        """Forget what was read as the turn began, which it does anew; its caller's lineage stays."""
        self.members, self._seqs, self._ranges = set(lineage), set(), {}

    @property
    def lineage(self) -> Lineage:
        """The deployments that have influenced the turn, settled ones included."""
        return frozenset(self.members)

    def is_seen_by(self, view: View) -> bool:
        """Return whether a view sees all deployments that have influenced the turn."""
        return not self.members or view.sees(frozenset(self.members))

    def unjournaled(self, settled: Lineage) -> Unjournaled:
        """Return what the next commit of this turn has to journal; `settled` drop out of lineages.

        Besides its own reads, these are those of its caller where that call is not journaled yet, of the turns that it
        has absorbed, and of the callers and absorbed turns of these: each cause that the journal lacks.
        """
        if self.caller is None and not self.absorbed:
            reads = self.pending()
            return Unjournaled(None if reads is None else pack(reads), (), {self: _Part(EMPTY, reads, None, ())})
        parts, left = {self: self._part()}, [self]
        while left:
            part = parts[left.pop()]
            found = part.absorbed if part.caller is None else (*part.absorbed, part.caller)
            fresh = [log for log in found if log not in parts]
            parts |= {log: log._part() for log in fresh}  # noqa: SLF001 - of the same class
            left += fresh
        reads = parts[self].reads
        return Unjournaled(None if reads is None else pack(reads), _edges_of(self, parts, settled), parts)

    def _part(self) -> _Part:
        return _Part(frozenset(self.members), self.pending(), self.caller, tuple(self.absorbed))


def _edges_of(own: TurnLog, parts: dict[TurnLog, _Part], settled: Lineage) -> tuple[TurnEdges, ...]:
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
