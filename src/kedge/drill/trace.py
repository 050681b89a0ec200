"""Trace of all reads and writes of a drill: an oracle that does not use Kedge's lineages.

It knows only which sessions see the release; it ignores lineages, epochs and views. From this it computes what every
read must return, which turns the release influenced at which operation, and which writes are contaminated. The checks
compare this with what Kedge did.

Writes must be recorded in their commit order per key. The scenario ensures this: within a day, parallel sessions write
disjoint keys, and read only their own keys and those of earlier days. Whatever combines several sessions (the
librarian's evening, the pipeline, the editor) runs alone.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from threading import Lock
from typing import Any, Literal, NamedTuple, Self

import msgspec

Kind = Literal["begin", "touch", "read", "range", "hits", "write", "delete", "absorb"]


class Place(NamedTuple):
    """A key as the drill names it; the name of a message is its position in the conversation."""

    store: str
    space: str
    name: str


class Op(msgspec.Struct, frozen=True, omit_defaults=True):
    """One operation of a turn. `value` is what a read returned or what a write wrote (a dict by name for several)."""

    index: int
    kind: Kind
    store: str = ""
    space: str = ""
    name: str = ""
    value: Any = None
    source: bool = False


class Version(NamedTuple):
    """One write at a place."""

    writer: str
    value: Any
    deleted: bool
    tainted: bool
    source: bool
    rank: int


Versions = dict[tuple[str, str], dict[str, list[Version]]]
"""All writes, in order, by (store, space) and name."""


_OF_TODAY = frozenset({"artifacts", "vectors"})  # stores that a replay reads in their current state


class TurnTrace:
    """Reads and writes of one turn. `influenced_at` is the first operation that the release influenced, or None.

    `rank` is the rank of the replayed input, or None: a replay writes at this rank and reads nothing later.
    """

    def __init__(
        self, label: str, *, agent: str, caller: str | None, sees_release: bool, rank: int | None = None
    ) -> None:
        self.label = label
        self.agent = agent
        self.caller = caller
        self.sees_release = sees_release
        self.rank = rank
        self.influenced_at: int | None = None
        self.read_from: set[str] = set()
        self.wrote: list[tuple[Place, Version]] = []


class Surprise(NamedTuple):
    """A read that returned another value than expected."""

    label: str
    place: Place
    expected: Any
    got: Any


class Trace:
    """All turns of one run, in order. Safe to share between threads."""

    def __init__(self, release: Iterable[str] = (), known: Versions | None = None) -> None:
        """Start with no turns; `release` holds the keys of the artifacts that it overrides, `known` earlier writes."""
        self.turns: dict[str, TurnTrace] = {}
        self.surprises: list[Surprise] = []
        self.reads_checked = 0
        self._release = frozenset(release)
        self._versions: Versions = defaultdict(dict, known or {})
        self._rolled_back = False
        self._writes = 1 + max((v.rank for of in self._versions.values() for vs in of.values() for v in vs), default=0)
        self._lock = Lock()
        self._rules: dict[Kind, Callable[[TurnTrace, Op], bool]] = {
            "begin": self._begin,
            "touch": self._touch,
            "read": self._read,
            "range": self._range,
            "hits": self._hits,
            "write": self._write,
            "delete": self._write,
            "absorb": self._absorb,
        }

    def begin(
        self,
        label: str,
        *,
        agent: str,
        caller: str | None = None,
        sees_release: bool = False,
        replays: Place | None = None,
    ) -> None:
        """Record that a turn begins: it reads its agent's artifacts, and has the view and influence of its caller.

        `replays` is the place of the input that it replays.
        """
        with self._lock:
            if label in self.turns:
                raise AssertionError(f"two turns are called {label!r}")
            sees = sees_release if caller is None else self.turns[caller].sees_release
            rank = None if replays is None else self._versions[replays.store, replays.space][replays.name][-1].rank
            self.turns[label] = TurnTrace(label, agent=agent, caller=caller, sees_release=sees, rank=rank)
        self.note(label, Op(0, "begin", name=agent))

    def note(self, label: str, op: Op) -> None:
        """Record an operation that was just done."""
        with self._lock:
            turn = self.turns[label]
            influenced = self._rules[op.kind](turn, op)
            if influenced and turn.influenced_at is None:
                turn.influenced_at = op.index

    def fork(self) -> Self:
        """Return a trace with the current keys, but without turns and release, for a twin."""
        known = {space: {name: [*of] for name, of in names.items()} for space, names in self._versions.items()}
        return type(self)(known=known)

    def roll_back(self) -> None:
        """Record that the release is hidden from now on."""
        self._rolled_back = True

    def written(self) -> Iterator[tuple[str, Place, Version]]:
        """Yield every write with the label of its turn."""
        for turn in self.turns.values():
            for place, version in turn.wrote:
                yield turn.label, place, version

    def must_be_visible(self) -> dict[Place, Any]:
        """Return what must be visible outside the release, for every written place."""
        content = {}
        for (store, space), names in self._versions.items():
            for name, versions in names.items():
                version = _newest(v for v in versions if not v.tainted)
                if version is not None and not version.deleted:
                    content[Place(store, space, name)] = version.value
        return content

    def influenced(self) -> dict[str, int]:
        """Return the influenced turns with the operation at which each was influenced first."""
        return {t.label: t.influenced_at for t in self.turns.values() if t.influenced_at is not None}

    # ── rules: each returns whether the operation adds the release's influence ──

    def _begin(self, turn: TurnTrace, op: Op) -> bool:
        caller = self.turns.get(turn.caller or "")
        own = turn.sees_release and any(key.startswith(f"{op.name}/") for key in self._release)
        return own or (caller is not None and caller.influenced_at is not None)

    def _touch(self, turn: TurnTrace, op: Op) -> bool:
        """An artifact is read."""
        return turn.sees_release and op.name in self._release

    def _read(self, turn: TurnTrace, op: Op) -> bool:
        return self._compare(turn, Place(op.store, op.space, op.name), op.value)

    def _range(self, turn: TurnTrace, op: Op) -> bool:
        known = self._versions[op.store, op.space]
        names = {name for name in known if name.startswith(op.name)} | set(op.value)
        return self._compare_all(turn, op, sorted(names))

    def _hits(self, turn: TurnTrace, op: Op) -> bool:
        return self._compare_all(turn, op, sorted(op.value))

    def _compare_all(self, turn: TurnTrace, op: Op, names: list[str]) -> bool:
        influences = [self._compare(turn, Place(op.store, op.space, name), op.value.get(name)) for name in names]
        return any(influences)

    def _write(self, turn: TurnTrace, op: Op) -> bool:
        tainted = turn.influenced_at is not None and not op.source
        self._writes += 1
        rank = self._writes if turn.rank is None else turn.rank
        version = Version(turn.label, op.value, op.kind == "delete", tainted, op.source, rank)
        self._versions[op.store, op.space].setdefault(op.name, []).append(version)
        turn.wrote.append((Place(op.store, op.space, op.name), version))
        return False

    def _absorb(self, _: TurnTrace, op: Op) -> bool:
        return self.turns[op.name].influenced_at is not None

    def _compare(self, turn: TurnTrace, place: Place, got: Any) -> bool:
        """Compare a read with its expected value; return whether it read a contaminated write."""
        versions: list[Version] | None = self._versions[place.store, place.space].get(place.name)
        if versions is None:
            return False  # written before this trace began
        sees = turn.sees_release and not self._rolled_back
        upto = None if place.store in _OF_TODAY else turn.rank
        version = _newest(v for v in versions if (sees or not v.tainted) and (upto is None or v.rank <= upto))
        expected = None if version is None or version.deleted else version.value
        self.reads_checked += 1
        if got != expected:
            self.surprises.append(Surprise(turn.label, place, expected, got))
        if version is None:
            return False
        turn.read_from.add(version.writer)
        return version.tainted


def _newest(versions: Iterable[Version]) -> Version | None:
    """Return the version with the highest rank; of equal ranks, the later one."""
    found: Version | None = None
    for version in versions:
        if found is None or version.rank >= found.rank:
            found = version
    return found


def entangled(trace: Trace, replayed: Callable[[str], bool]) -> set[str]:
    """Return the labels of the turns whose results a replay need not reproduce, from a run without the release.

    `replayed` tells whether a turn's work is replayed. The law does not apply to other turns that read that work, nor
    to their readers, direct or indirect.
    """
    differing: set[str] = set()
    while True:
        more = {
            label
            for label, turn in trace.turns.items()
            if label not in differing
            and (
                any(writer in differing or (replayed(writer) and not replayed(label)) for writer in turn.read_from)
                or turn.caller in differing
            )
        }
        if not more:
            return differing
        differing |= more


__all__ = ["Kind", "Op", "Place", "Surprise", "Trace", "TurnTrace", "Version", "entangled"]
