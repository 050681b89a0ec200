"""History of the oracle: one list of all events, and the deployments and sessions after a prefix of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Names = frozenset[str]
NOBODY: Names = frozenset()


class Refused(Exception):
    """Kedge must refuse this call with the error of `kedge.errors` named `kind`."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(f"{kind}: {why}")
        self.kind = kind


@dataclass(frozen=True)
class Write:
    """One put or delete.

    `position` is its place in the list, `rank` the place that it competes at (a replayed write's is its input's).
    """

    position: int
    rank: int
    store: str
    space: str
    name: str
    value: Any
    deleted: bool
    lineage: Names
    origin: Literal["source", "derived"]
    provenance: Names
    seq: int | None = None
    idempotency: str | None = None
    short_lived: bool = False  # it expires when time passes: at the next change of kind "wait"


@dataclass(frozen=True)
class Change:
    """One control change, or that time passed (`wait`).

    `names` are a stage's bases, or what a session begins with, opened `inside` a deployment. A session that is
    `promoted` adopts what became live.
    """

    kind: Literal["stage", "external", "canary", "promote", "settle", "rollback", "reinstate", "purge", "begin", "wait"]
    name: str
    weight: float = 0.0
    artifacts: Names = NOBODY
    names: Names = NOBODY
    inside: str | None = None
    by_view: bool = False
    promoted: bool = False


class World:
    """The deployments and sessions after a prefix of the history.

    A rollback changes no step: it marks the deployment, and whatever is marked, or stands on something marked, is
    rolled back. So a dependant goes in the same flip, comes back with the last of its rolled-back bases, and comes back
    to what it was.
    """

    def __init__(self, history: Iterable[Write | Change]) -> None:
        self.steps: dict[str, str] = {}
        self.weights: dict[str, float] = {}
        self.artifacts: dict[str, Names] = {}
        self.bases: dict[str, Names] = {}
        self.marked: set[str] = set()
        self.removed: set[str] = set()
        self.sessions: dict[str, Names] = {}
        self.inside: dict[str, str | None] = {}
        self.promoted: set[str] = set()
        self.externals: set[str] = set()
        self.by_view: set[str] = set()  # they influence every agent's turn that sees them
        for entry in history:
            if isinstance(entry, Change):
                self._follow(entry)

    def _follow(self, change: Change) -> None:
        name = change.name
        match change.kind:
            case "stage":
                self.steps[name], self.artifacts[name], self.bases[name] = "staged", change.artifacts, change.names
                self.by_view |= {name} if change.by_view else set()
            case "external":
                self.steps[name], self.artifacts[name], self.bases[name] = "live", NOBODY, NOBODY
                self.externals.add(name)
            case "canary":
                self.steps[name], self.weights[name] = "canary", change.weight
            case "promote":
                self.steps[name] = "live"
            case "settle":
                self.steps[name] = "settled"
            case "rollback":
                self.marked.add(name)
            case "reinstate":
                self.marked.discard(name)
            case "purge":
                self.removed.add(name)
            case "begin":
                self.sessions[name], self.inside[name] = change.names, change.inside
                self.promoted |= {name} if change.promoted else set()

    def needs(self, name: str) -> Names:
        """`name` and all its bases, directly or not."""
        return frozenset({name}).union(*(self.needs(base) for base in self.bases[name]))

    def dependants(self, name: str) -> Names:
        """`name` and all its dependants, directly or not."""
        return frozenset(other for other in self.steps if name in self.needs(other))

    def status(self, name: str) -> str:
        """One of staged, canary, live, settled, rolled back, purged."""
        if self.needs(name) & self.removed:
            return "purged"
        if self.needs(name) & self.marked:
            return "rolled back"
        return self.steps[name]

    def having(self, *statuses: str) -> Names:
        """The deployments in one of these statuses."""
        return frozenset(name for name in self.steps if self.status(name) in statuses)

    @property
    def settled(self) -> Names:
        """The irrevocable ones, which every view sees."""
        return self.having("settled")

    @property
    def standing(self) -> Names:
        """Those that a view may see: neither revoked nor settled."""
        return self.having("staged", "canary", "live")

    @property
    def taken_back(self) -> Names:
        """The revoked ones, which no view sees."""
        return self.having("rolled back", "purged")

    def sees_next(self, session: str) -> Names:
        """What the next root turn of a session begins with: a promoted one adopts what became live.

        It does not adopt what shares an artifact with a canary that it sees, nor what rests on that.
        """
        begun = self.sessions[session]
        if session not in self.promoted:
            return begun
        canaries = {name for name in begun & self.standing if self.steps[name] in ("staged", "canary")}
        taken = frozenset[str]().union(*(self.artifacts[name] for name in canaries))
        adopted = begun
        for name in self.steps:  # bases come first
            below = (self.needs(name) - {name}) & self.standing - self.externals
            is_new = name in self.having("live") - self.externals - begun
            if is_new and not self.artifacts[name] & taken and below <= adopted:
                adopted |= {name}
        return adopted

    def check_assignment(self, session: str, seen: Names, deployment: str | None) -> None:
        """Fail if a session that begins now, opened with `deployment`, cannot see just `seen`."""
        asked = self.needs(deployment) & self.standing if deployment in self.standing else NOBODY
        must = (self.having("live") | asked) - self.externals  # every view sees these
        joined = seen - must - self.externals
        assert must <= seen, f"session {session!r} misses {sorted(must - seen)}"
        assert joined <= self.having("canary"), f"session {session!r} sees {sorted(joined)}, not all canaries"
        for name in joined:
            assert self.weights[name] > 0, f"session {session!r} joined {name!r}, whose weight is 0"
            rivals = [other for other in joined - {name} if self.artifacts[other] & self.artifacts[name]]
            assert not rivals, f"session {session!r} joined {name!r} and {rivals}, which share an artifact"
        for name in self.having("canary") - seen:
            free = not any(self.artifacts[other] & self.artifacts[name] for other in joined | asked)
            assert not (free and self.weights[name] >= 1), f"session {session!r} did not join {name!r}, of weight 1"
