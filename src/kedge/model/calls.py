"""Calls between agents that went nowhere: headers that nobody received, and answers that nobody absorbed."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping

import msgspec

from kedge.model.metrics import Tally
from kedge.model.provenance import TurnRecord

REFUSED = "refused"  # an edge that is no call: a derived write was refused to the turn, at the level `peer`
UNRECEIVED = "call:unreceived"
UNABSORBED = "call:unabsorbed"


class Edge(msgspec.Struct, frozen=True):
    """A call of a turn, or its answer.

    "call": headers left it, `peer` is the audience; "child": it called a turn of its process, `peer` is the id of that;
    "absorb": an answer came back, `peer` is the callee's id.
    """

    at: float
    kind: str
    turn: str
    peer: str


def unanswered(edges: Iterable[Edge], turns: Iterable[TurnRecord], before: float) -> list[Tally]:
    """Return calls made before a moment that led to nothing, by caller and callee.

    A call counts as received once a callee has written or called, or once its headers were absorbed; in one process, at
    once. A callee's answer counts as absorbed once its caller has absorbed it.
    """
    known = {turn.uid: turn for turn in turns}
    calls: dict[str, list[Edge]] = {}
    last: dict[str, float] = {}
    absorbed, began, came_back = set[tuple[str, str]](), set[tuple[str, str]](), Counter[str]()
    for edge in edges:
        if edge.kind == "absorb":
            absorbed.add((edge.turn, edge.peer))
            came_back[edge.peer] += (edge.turn, edge.peer) not in began
            continue
        last[edge.turn] = edge.at
        if edge.kind == "child":
            began.add((edge.turn, edge.peer))
        else:
            calls.setdefault(edge.turn, []).append(edge)
    callees: dict[str, list[TurnRecord]] = {}
    for turn in known.values():
        if turn.parent is not None:
            callees.setdefault(turn.parent, []).append(turn)
    found = _Counted()
    for caller, at in last.items():
        if caller not in known:
            continue
        answered = callees.get(caller, [])
        lost = [callee for callee in answered if (caller, callee.uid) not in absorbed]
        for callee in lost:
            found.add(UNABSORBED, known, caller, callee.agent, at, before)
        own = known[caller]
        answers = (
            own.parent is not None and (own.parent, caller) not in absorbed | began
        )  # it is counted at its own caller
        elsewhere = [callee.agent or "" for callee in answered if (caller, callee.uid) not in began]
        receivers = [*elsewhere, *[""] * (came_back[caller] + answers)]
        for edge in _unreceived(calls.get(caller, ()), receivers):
            found.add(UNRECEIVED, known, caller, edge.peer or None, edge.at, before)
    return found.tallies()


def _unreceived(sent: Iterable[Edge], receivers: Iterable[str]) -> list[Edge]:
    """Return the headers that nobody received. A receiver took some for it, else some for anybody, else the oldest."""
    left: dict[str, deque[Edge]] = {}
    for edge in sent:
        left.setdefault(edge.peer, deque()).append(edge)
    for receiver in receivers:
        audience = next((a for a in (receiver, "") if left.get(a)), None)
        if audience is None:
            audience = min((a for a, edges in left.items() if edges), key=lambda a: left[a][0].at, default=None)
        if audience is not None:
            left[audience].popleft()
    return [edge for edges in left.values() for edge in edges]


class _Counted:
    """Counts by metric, caller and callee."""

    def __init__(self) -> None:
        self._count, self._last = Counter[tuple[str, str, str]](), dict[tuple[str, str, str], float]()

    def add(
        self, metric: str, known: Mapping[str, TurnRecord], caller: str, callee: str | None, at: float, before: float
    ) -> None:
        if at < before:
            edge = (metric, known[caller].agent or "", f"to {callee or 'an unnamed agent'}")
            self._count[edge] += 1
            self._last[edge] = max(at, self._last.get(edge, 0.0))

    def tallies(self) -> list[Tally]:
        return [Tally(*edge, count, self._last[edge]) for edge, count in sorted(self._count.items())]


__all__ = ["REFUSED", "UNABSORBED", "UNRECEIVED", "Edge", "unanswered"]
