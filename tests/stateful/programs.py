"""Deterministic programs of agents, as data, run once as they were and once as they would have been.

What a turn writes is a digest of all that it has read so far, so whatever reaches it shows in whatever it writes.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st

import kedge
from tests.stateful.ops import COLLECTION, DIM, own, rounded

ARTIFACTS = ("helper/prompt", "librarian/prompt", "shared/embedder")
NAMES = ("r0", "r1", "r2", "r3", "r4")
SLOTS = (0, 1, 2)
READS = ("get", "get", "items", "document", "count", "history", "search", "rows", "artifact", "saved", "saved")
WRITES = ("put", "put", "delete", "swap", "document put", "document delete", "say", "upsert", "upsert", "drop", "save",
          "save", "together", "clear", "rephrase")  # fmt: skip
SPOKEN = ("say", "history", "clear", "rephrase")  # need a session


@dataclass(frozen=True)
class Step:
    """One thing that happens. Control changes name a deployment, acts a slot in which a turn may be open.

    A call begins a child turn of the slot in another one, `to`; an absorb joins that one's lineage.
    """

    kind: Literal["deploy", "control", "begin", "act", "call", "absorb"]
    what: str = ""
    name: str = ""
    slot: int = 0
    to: int = 0
    session: str | None = None
    artifacts: tuple[str, ...] = ()
    independent: bool = False
    key: int = 0
    source: bool = False


_names = st.sampled_from(NAMES[1:])
_slots = st.sampled_from(SLOTS)
_act = st.builds(
    Step,
    st.just("act"),
    st.sampled_from(READS + WRITES),
    key=st.integers(0, 1),
    source=st.sampled_from([False, False, False, True]),
)
_begin = st.builds(
    Step,
    st.just("begin"),
    st.sampled_from(["helper", "librarian", "temp", "person"]),
    name=st.sampled_from(["", "", "", "", *NAMES]),
    session=st.sampled_from(["s1", "s1", "s2", None]),
)
_spell = st.tuples(_slots, st.none() | _begin, st.lists(_act, min_size=2, max_size=6)).map(
    lambda spell: [replace(step, slot=spell[0]) for step in (spell[1], *spell[2]) if step]
)
_child = st.builds(
    lambda agent, slot, to, acts: [
        Step("call", agent, slot=slot, to=(slot + to) % len(SLOTS)),
        *(replace(act, slot=(slot + to) % len(SLOTS)) for act in acts),
        Step("absorb", slot=slot, to=(slot + to) % len(SLOTS)),
    ],
    st.sampled_from(["helper", "librarian", "temp"]),
    _slots,
    st.sampled_from([1, 2]),
    st.lists(_act, min_size=1, max_size=4),
)
_deploy = st.builds(
    Step,
    st.just("deploy"),
    name=_names,
    artifacts=st.lists(st.sampled_from(ARTIFACTS), min_size=1, max_size=2, unique=True).map(tuple),
    independent=st.sampled_from([False, False, True]),
)
_launch = _deploy.map(lambda step: [step, Step("control", "promote", step.name)])
_control = st.builds(Step, st.just("control"), st.sampled_from(["settle", "rollback", "reinstate"]), name=_names)
_opening = [
    Step("deploy", name="r1", artifacts=("librarian/prompt",)),
    Step("control", "promote", name="r1"),
    *(Step("begin", who, slot=slot, session="s1") for slot, who in enumerate(("helper", "librarian", ""))),
]
_few = st.one_of(_launch, _deploy.map(lambda s: [s]), _control.map(lambda s: [s]))
histories = st.lists(st.one_of(_spell, _spell, _spell, _child, _few), min_size=8, max_size=30).map(
    lambda parts: [*_opening, *(step for part in parts for step in part)]
)


@dataclass
class Result:
    """What came of a step: what was read, what was written, the lineage after it; or that it was refused."""

    read: Any = None
    wrote: Any = None
    lineage: frozenset[str] = frozenset()
    refused: bool = False


@dataclass
class Running:
    """An open turn and all that it has read."""

    turn: kedge.Turn
    session: str | None
    read: list[Any] = field(default_factory=list)


class Run:
    """A history as it happens in one database."""

    def __init__(self, k: kedge.Kedge) -> None:
        self.k = k
        self.turns: dict[int, Running] = {}
        k.collection(COLLECTION, dim=DIM)
        k.deploy("r0", {"helper/prompt": "r0"})
        k.promote("r0")

    def step(self, step: Step) -> Result:
        """Let a step happen; a refusal changes nothing."""
        try:
            return getattr(self, f"_{step.kind}")(step)  # type: ignore[no-any-return]
        except kedge.KedgeError:
            return Result(refused=True, lineage=self._lineage(step))

    def end(self) -> None:
        """Close all turns."""
        for running in self.turns.values():
            running.turn.close()

    def _lineage(self, step: Step) -> frozenset[str]:
        running = self.turns.get(step.slot) if step.kind in ("act", "absorb") else None
        return running.turn.lineage if running else frozenset()

    def _deploy(self, step: Step) -> Result:
        self.k.deploy(step.name, {key: f"{key} of {step.name}" for key in step.artifacts}, independent=step.independent)
        return Result()

    def _control(self, step: Step) -> Result:
        if step.what == "rollback":
            self.k.rollback(step.name, verify=False)
        else:
            getattr(self.k, step.what)(step.name)
        return Result()

    def _begin(self, step: Step) -> Result:
        agent, person = (None, "pat") if step.what == "person" else (step.what, None)
        turn = self.k.turn(step.session, agent, person=person, deployment=step.name or None)
        if step.slot in self.turns:
            self.turns[step.slot].turn.close()
        self.turns[step.slot] = Running(turn, step.session)
        return Result(lineage=turn.lineage)

    def _call(self, step: Step) -> Result:
        caller = self.turns.get(step.slot)
        if caller is None:
            return Result(refused=True)
        turn = self.k.turn(agent=step.what, parent=caller.turn)
        if step.to in self.turns:
            self.turns[step.to].turn.close()
        self.turns[step.to] = Running(turn, caller.session, [*caller.read])
        return Result(lineage=turn.lineage)

    def _absorb(self, step: Step) -> Result:
        caller, callee = self.turns.get(step.slot), self.turns.get(step.to)
        if caller is None or callee is None:
            return Result(refused=True)
        caller.turn.absorb(callee.turn)
        caller.read.extend(callee.read)
        return Result(lineage=caller.turn.lineage)

    def _act(self, step: Step) -> Result:
        running = self.turns.get(step.slot)
        if running is None or (running.session is None and step.what in SPOKEN):
            return Result(refused=True)
        if step.what in READS:
            read = self._read(running.turn, step)
            running.read.append(read)
            return Result(read=read, lineage=running.turn.lineage)
        value = f"{step.what} {step.key}: {zlib.crc32(repr(running.read).encode()):08x}"
        self.write(running.turn, step, value)
        return Result(wrote=value, lineage=running.turn.lineage)

    def _read(self, turn: kedge.Turn, step: Step) -> Any:
        key, documents, vectors = f"key/{step.key}", turn.documents(COLLECTION), turn.vectors(COLLECTION)
        match step.what:
            case "get":
                return turn.context.get(key)
            case "items":
                return turn.context.items("key/")
            case "saved":
                saved = own(turn)
                return list(saved.items(limit=step.key + 1)), saved.keys(reverse=True, limit=1), saved.get_many([key])
            case "document":
                return documents.get(key)
            case "count":
                return (documents.count(), vectors.count())
            case "history":
                return [(m.role, m.content) for m in turn.memory.history(limit=step.key + 1)]
            case "search":
                hits = vectors.search(self.vector(step.key), k=step.key + 1)
                return [(hit.id, round(hit.score, 4)) for hit in hits], hits.count_unembedded()
            case "rows":
                return {name: (rounded(row.vector), row.payload) for name, row in vectors.get([key]).items()}
        artifact = turn.artifacts.get(ARTIFACTS[step.key])
        return artifact.value if artifact else None

    def write(self, turn: kedge.Turn, step: Step, value: str) -> None:  # noqa: C901 - one case a call
        """Write `value`, or what follows from it.

        Vectors are never source: they lie in a space that a release made; nor is what depends on the place of messages.
        """
        key, documents, vectors = f"key/{step.key}", turn.documents(COLLECTION), turn.vectors(COLLECTION)
        origin: Any = "source" if step.source else "derived"
        match step.what:
            case "put":
                turn.context.put(key, value, origin=origin)
            case "delete":
                turn.context.delete(key, origin=origin)
            case "swap":
                entry = turn.context.entry(key)
                turn.context.put(key, value, expect=entry.seq if entry else 0, origin=origin)
            case "save":
                own(turn).put(key, value, origin=origin)
            case "together":
                with turn.batch():
                    turn.context.put(key, value, origin=origin)
                    own(turn).put(f"{key}/b", value, origin=origin)
                    documents.put(f"{key}/b", value, origin=origin)
            case "document put":
                documents.put(key, value, origin=origin)
            case "document delete":
                documents.delete(key, origin=origin)
            case "say" | "clear" | "rephrase":
                self._speak(turn, step, value)
            case "upsert":
                vectors.upsert([key], self.vector(zlib.crc32(value.encode()))[None, :], [value], origin="derived")
            case "drop":
                vectors.delete([key], origin="derived")

    def _speak(self, turn: kedge.Turn, step: Step, value: str) -> None:
        origin: Any = "source" if step.source else "derived"
        match step.what:
            case "say":
                turn.memory.append("assistant", value, origin=origin)
            case "clear":
                turn.memory.clear(origin=origin)
            case "rephrase":
                seqs = [0, *(message.seq for message in turn.memory.history())]
                turn.memory.replace(seqs[-step.key - 1 :][0], [("assistant", value)], origin="derived")

    def vector(self, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return one of many directions, no two of them equally near to a third."""
        return np.random.default_rng(seed).normal(size=DIM).astype(np.float32)

    def shown(self, session: str | None) -> dict[str, Any]:
        """Return all that a view shows, by value."""
        view = self.k.view(session=session)
        rows = view.vectors(COLLECTION)
        settled = {d.name for d in self.k.deployments() if d.status == "settled"}
        return {
            "artifacts": {key: artifact.value for key, artifact in view.artifacts.items("").items()},
            "context": {e.key: (e.value, e.lineage - settled) for e in view.context.entries("")},
            "documents": {e.key: (e.value, e.lineage - settled) for e in view.documents(COLLECTION).entries("")},
            "own": {e.key: (e.value, e.lineage - settled) for e in own(view).entries()},
            "vectors": {name: (rounded(row.vector), row.payload) for name, row in rows.get(rows.ids()).items()},
            "memory": [(m.role, m.content) for m in view.memory.history()] if session else [],
        }
