"""Random programs that run on two databases at once, one on each backend; every answer must be the same.

`python -m tests.stateful.differential FIRST LAST [STEPS]` runs programs by their seeds and prints the first that fails.
"""

from __future__ import annotations

import bisect
import itertools
import random
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import kedge
from kedge.model.choices import OriginName
from kedge.testing import postgres
from tests import databases

DIM = 4
SESSIONS = ("s1", "s2", "s3")
AGENTS = ("helper", "librarian")
ARTIFACTS = ("helper/prompt", "librarian/prompt", "shared/embedder", "shared/policy")
ORIGINS: list[OriginName | None] = [None, None, None, "source", "derived"]
KEYS = ("case/1", "case/2", "fact/1")
IDS = tuple(f"v{n}" for n in range(8))
FILTERS = (None, None, {"n": 1}, {"n": {"gte": 1}}, {"or": [{"n": 0}, {"tag": {"in": ["a", "b"]}}]})
MOVES = ("canary", "promote", "promote", "settle", "rollback", "rollback", "reinstate", "purge", "plan")
READS = (
    "get",
    "items",
    "count",
    "document",
    "history",
    "search",
    "search",
    "rows",
    "batches",
    "artifact",
    "search both",
    "range",
    "range",
)
WRITES = ("put", "put", "delete", "swap", "put once", "documents", "forget document", "append", "extend", "forget",
          "upsert", "upsert", "upsert", "drop", "cached", "observe", "delete message", "reindex",
          "reindex", "append after", "replace", "clear", "own", "own", "own many", "below", "batch",
          "batch")  # fmt: skip
SPOKEN = ("append", "extend", "forget", "delete message", "append after", "replace", "clear")  # need a session
LOOKS = ("ask", "ask", "ask", "view", "view", "past", "past", "diff", "status", "pending", "log", "verify")
CHANGES = ("fork", "rewind", "rewind", "undo", "end")
STEPS = 60
SETTINGS: dict[str | None, dict[str, Any]] = {
    "s2": {"refresh": "promoted"},
    "s3": {"refresh": 20.0, "unit_id": "user-7"},
}


class Step(msgspec.Struct, frozen=True):
    """One call. `pick` chooses among what there is then; `seed` makes the values."""

    kind: str
    what: str
    pick: int
    seed: int


def program(seed: int, steps: int = STEPS) -> list[Step]:
    """Return the program of a seed.

    It begins with two live releases, one of which an agent reads at its start and one later, and with a `supersede`.
    """
    dice = random.Random(seed)
    kinds = {"deploy": 3, "move": 6, "begin": 4, "call": 1, "absorb": 1, "end": 0.5, "read": 10, "write": 14, "look": 4,
             "snapshot": 0.5, "release": 0.3, "replay": 1, "level": 0.3, "refresh": 0.5, "supersede": 2,
             "session": 2}  # fmt: skip
    of_kind = {
        "session": CHANGES,
        "move": MOVES,
        "read": READS,
        "write": WRITES,
        "look": LOOKS,
    }
    begin = [
        step
        for pick, key in enumerate(("helper/prompt", "shared/policy"))
        for step in (Step("deploy", key, 0, dice.randrange(10**6)), Step("move", "promote", pick, 0))
    ]
    begin.append(Step("supersede", "", 0, dice.randrange(10**6)))
    return begin + [
        Step(kind, dice.choice(of_kind.get(kind, ("",))), dice.randrange(12), dice.randrange(10**6))
        for kind in dice.choices([*kinds], [*kinds.values()], k=steps)
    ]


class Seq(int):
    """A seq in an answer: PostgreSQL leaves gaps after writes that failed, so it is compared by its place."""


class Clock:
    """Time advances by a second for each step."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0
        self._ids = itertools.count(1)

    def now(self) -> float:
        """Return the time."""
        return self.time

    def fresh_id(self) -> str:
        """Return the next name."""
        return f"{next(self._ids):032x}"


class Side:
    """A program as it runs on one database."""

    def __init__(self, place: str) -> None:
        self.clock = Clock()
        self.k = kedge.open(place, durability="normal", clock=self.clock)
        self.k.collection("kb", dim=DIM, fields=["n"])
        self.k.collection("wiki", dim=DIM)
        self.k.collection("far", dim=DIM, metric="l2")
        self.turns: list[kedge.Turn] = []
        self.sessions_of: list[str | None] = []
        self.deployments: list[str] = []
        self.snapshots: list[str] = []
        self.rewinds: list[str] = []
        self.ends = [self.k.seq]  # the last seq after each step

    def run(self, step: Step) -> Any:
        """Run a step; return its answer, or the name of its error."""
        self.clock.time += 1.0
        act: Callable[[Step, random.Random], Any] = getattr(self, f"_{step.kind}")
        try:
            answer = act(step, random.Random(step.seed))
        except kedge.KedgeError as error:
            answer = type(error).__name__
        self.ends.append(self.k.seq)
        lineages = [sorted(turn.lineage) for turn in self.turns]
        return {"answer": self._normal(answer), "lineages": lineages, "epoch": self.k.epoch}

    def _normal(self, value: Any, name: str = "") -> Any:
        """Return an answer as built-in values; a seq as the step that took it, and its distance from the last."""
        if type(value) is Seq or (isinstance(value, int) and (name == "seq" or name.endswith("_seq")) and value):
            return self._place(value)
        if isinstance(value, str):
            return re.sub(r"seq (\d+)", lambda found: self._place(int(found[1])), value)
        if isinstance(value, msgspec.Struct):
            fields = [field for field in value.__struct_fields__ if field != "upto_turn"]  # a number with gaps, too
            return {field: self._normal(getattr(value, field), field) for field in fields}
        if isinstance(value, dict):
            return {key: self._normal(content, key) for key, content in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            ordered = sorted(value) if isinstance(value, set | frozenset) else value
            return [self._normal(content, name) for content in ordered]
        return value

    def _place(self, seq: int) -> str:
        step = bisect.bisect_left(self.ends, seq)
        return f"step {step}, {self.ends[step] - seq} before its last seq"

    def close(self) -> None:
        """Close turns and database."""
        for turn in self.turns:
            turn.close()
        self.k.close()

    # ------------------------------------------------------------ control

    def _deploy(self, step: Step, dice: random.Random) -> Any:
        name = f"r{len(self.deployments)}"
        keys = [step.what] if step.what else dice.sample(ARTIFACTS, dice.choice([1, 1, 2]))
        artifacts = {key: f"{key} {step.seed}" for key in keys}
        weight = dice.choice([None, None, 0.0, 0.5, 1.0])
        allow = dice.choice([(), (), ("user-7", "s1")])
        base = dice.choice([None, None, None, *self.deployments])
        options: dict[str, Any] = {"canary": weight, "independent": dice.random() < 0.3, "base": base, "allow": allow}
        derived_from = self.k.view() if dice.random() < 0.2 else None
        self.k.deploy(name, artifacts, **options, derived_from=derived_from, by="test")
        self.deployments.append(name)
        return self.k.deployment(name)

    def _move(self, step: Step, dice: random.Random) -> Any:
        fitting = {"settle": ("live",), "reinstate": ("rolled back",), "purge": ("rolled back",)}
        fit = [
            d.name
            for d in self.k.deployments()
            if str(d.status) in fitting.get(step.what, ("live", "canary", "staged"))
        ]
        names = fit if fit and dice.random() < 0.8 else self.deployments
        if not names:
            return None
        name = names[step.pick % len(names)]
        match step.what:
            case "canary":
                return self.k.canary(name, dice.choice([0.0, 0.5, 1.0]), by="test")
            case "rollback":
                plan = self.k.plan(name)
                report = self.k.rollback(name, reason="it is bad", by="test")
                return plan, report.writes_hidden, report.ok, sorted(vars_of(report.indicators))
            case "purge":
                return self.k.purge(name, confirm=name, by="test")
            case "plan":
                return self.k.plan(name)
        return getattr(self.k, step.what)(name, by="test")

    def _snapshot(self, step: Step, _: random.Random) -> Any:
        name = f"point-{step.seed}"
        taken = self.k.snapshot(name, by="test")
        self.snapshots.append(name)
        return taken

    def _release(self, step: Step, _: random.Random) -> Any:
        if self.snapshots:
            self.k.release_snapshot(self.snapshots.pop(step.pick % len(self.snapshots)), by="test")
        return self.k.snapshots()

    def _level(self, _: Step, dice: random.Random) -> Any:
        self.k.set_level(dice.choice(AGENTS), dice.choice(["full", "full", "frozen"]), by="test")
        return self.k.levels()

    def _refresh(self, step: Step, _: random.Random) -> Any:
        return sorted(self.k.refresh(SESSIONS[step.pick % 3], by="test"))

    def _replay(self, _: Step, dice: random.Random) -> Any:
        def again(turn: kedge.Turn, item: kedge.ReplayInput) -> None:
            turn.context.put("fact/1", f"again {item.value}")
            if item.session is not None:
                turn.memory.append("assistant", f"again: {item.value}")
            turn.vectors("kb").upsert(["v0"], vectors(dice, 1), [{"n": 1}])

        report = self.k.replay(again, limit=3)
        return vars_of(report)

    def _session(self, step: Step, dice: random.Random) -> Any:
        names = [info.session for info in self.k.sessions()] or ["s1"]
        session = names[step.pick % len(names)]
        match step.what:
            case "fork":
                forked = self.k.fork_session(session, f"fork-{step.seed}", by="test")
                return forked.writes, self._shown(self.k.view(session=forked.session), forked.session, dice)
            case "rewind":
                done = self.k.rewind(session, dice.choice(self.ends[-8:]), by="test")
                self.rewinds.append(done.id)
                return done.deleted, done.restored, self._shown(self.k.view(session=session), session, dice)
            case "undo" if self.rewinds:
                undone = self.k.undo_rewind(self.rewinds[step.pick % len(self.rewinds)], by="test")
                return undone.deleted, undone.restored
            case "end":
                self.k.end_session(session, by="test")
        infos = self.k.sessions()
        return [(s.session, s.generation, s.sees, s.refresh, s.unit_id, s.ended, s.opened_with) for s in infos]

    # ------------------------------------------------------------ turns

    def _begin(self, _: Step, dice: random.Random) -> Any:
        session = dice.choice([None, *SESSIONS])
        who: dict[str, Any] = dice.choice([{"agent": AGENTS[0]}, {"agent": AGENTS[1]}, {"person": "pat"}])
        inside = dice.choice([None, None, None, None, *self.deployments])
        self._add(self.k.turn(session=session, deployment=inside, **who, **SETTINGS.get(session, {})), session)
        return None if session is None else sorted(self.k.assignment(session))

    def _add(self, turn: kedge.Turn, session: str | None) -> None:
        if len(self.turns) == 4:
            self.turns.pop(0).close()
            self.sessions_of.pop(0)
        self.turns.append(turn)
        self.sessions_of.append(session)

    def _call(self, step: Step, dice: random.Random) -> Any:
        if self.turns:
            place = step.pick % len(self.turns)
            caller = self.turns[place]
            parent = caller if dice.random() < 0.5 else caller.headers()  # in this process, or in another
            child = self.k.turn(agent=dice.choice(AGENTS), parent=parent)
            self._add(child, self.sessions_of[place])

    def _absorb(self, _: Step, dice: random.Random) -> Any:
        if len(self.turns) > 1:
            one, other = dice.sample(self.turns, 2)
            one.absorb(other if dice.random() < 0.5 else other.headers())

    def _end(self, step: Step, _: random.Random) -> Any:
        if self.turns:
            self.turns.pop(step.pick % len(self.turns)).close()
            self.sessions_of.pop(step.pick % len(self.sessions_of))

    def _turn(self, step: Step) -> tuple[kedge.Turn, str | None]:
        if not self.turns:
            session = SESSIONS[step.pick % 3]
            self._add(self.k.turn(session=session, agent=AGENTS[0], **SETTINGS.get(session, {})), session)
        place = step.pick % len(self.turns)
        return self.turns[place], self.sessions_of[place]

    def _read(self, step: Step, dice: random.Random) -> Any:  # noqa: C901 - one case a call
        turn, session = self._turn(step)
        key, ids = dice.choice(KEYS), dice.sample(IDS, 3)
        collection = dice.choice(["kb", "kb", "wiki", "far"])
        found = turn.vectors(collection)
        match step.what:
            case "get":
                entry = turn.context.entry(key)
                return turn.context.get(key), None if entry is None else entry_of(entry)
            case "items":
                return turn.context.items("case/"), [entry_of(e) for e in turn.documents("kb").entries("")]
            case "count":
                return turn.context.count(), turn.documents("kb").count(), found.count()
            case "document":
                return turn.documents("kb").get("d1")
            case "history" if session is not None:
                history = turn.memory.history(limit=dice.choice([None, 1, 3]), tombstones=dice.random() < 0.5)
                return [message_of(message) for message in history]
            case "search":
                k, where, exact = dice.choice([1, 2, 9]), dice.choice(FILTERS), dice.random() < 0.5
                hits = found.search(vectors(dice, 1)[0], k=k, where=where, exact=exact)
                return hits_of(hits), hits.count_unembedded() if dice.random() < 0.5 else None
            case "search both":
                return hits_of(turn.search(["kb", "wiki"], vectors(dice, 1)[0], k=3, where=dice.choice(FILTERS)))
            case "rows":
                return {name: (row.vector.tolist(), row.payload, Seq(row.seq)) for name, row in found.get(ids).items()}
            case "batches":
                batches = found.batches(3, where=dice.choice(FILTERS))
                rows = {n: v.tolist() for some in batches for n, v in zip(some.ids, some.vectors, strict=True)}
                return rows, batches.rows, batches.unembedded
            case "range":
                asked: Any = {"after": dice.choice([None, "case/1", "fact/0"]), "limit": dice.choice([None, 0, 1, 2]),
                              "reverse": dice.random() < 0.5}  # fmt: skip
                prefix, where = dice.choice(["", "case/"]), dice.choice([own(turn), own(turn), turn.context])
                some = where.get_many([key, "case/1"])
                return [entry_of(e) for e in where.entries(prefix, **asked)], where.keys(prefix, **asked), some
            case "artifact":
                artifact = turn.artifacts.get(dice.choice(ARTIFACTS))
                return None if artifact is None else artifact.value
        return None

    def _write(self, step: Step, dice: random.Random) -> Any:  # noqa: C901, PLR0912 - one case a call
        turn, session = self._turn(step)
        key, value = dice.choice(KEYS), step.seed
        origin = dice.choice(ORIGINS)
        collection = dice.choice(["kb", "kb", "wiki", "far"])
        if session is None and step.what in SPOKEN:
            return None
        match step.what:
            case "put":
                return Seq(turn.context.put(key, value, origin=origin))
            case "delete":
                return Seq(turn.context.delete(key, origin=origin))
            case "swap":
                entry = turn.context.entry(key)
                expect = dice.choice([0, 1, entry.seq if entry else 0, entry.seq if entry else 0])
                return Seq(turn.context.put(key, value, expect=expect, origin=origin))
            case "put once":
                call = dice.choice(["call 1", "call 2"])
                return Seq(turn.context.put(key, dice.choice([call, "other"]), idempotency=call, origin=origin))
            case "documents":
                return Seq(turn.documents("kb").put(dice.choice(["d1", "d2"]), f"text {value}", origin=origin))
            case "forget document":
                return Seq(turn.documents("kb").delete("d1", origin=origin))
            case "append":
                return Seq(turn.memory.append(dice.choice(["user", "assistant"]), value, origin=origin))
            case "extend":
                return [*map(Seq, turn.memory.extend([("user", value), ("assistant", -value)]))]
            case "replace" | "clear" | "append after":
                seqs = [message.seq for message in turn.memory.history()]
                newest = dice.choice([None, seqs[-1] if seqs else 0, 1])
                match step.what:
                    case "clear":
                        return [*map(Seq, turn.memory.clear(expect=newest, origin=origin))]
                    case "replace":
                        after, new = dice.choice([0, *seqs]), [("user", value), ("assistant", -value)]
                        return [*map(Seq, turn.memory.replace(after, new, expect=newest, origin=origin))]
                return Seq(turn.memory.append("user", value, expect=newest, origin=origin))
            case "forget" | "delete message":
                history = turn.memory.history()
                return Seq(turn.memory.delete(dice.choice(history).seq, origin=origin)) if history else None
            case "upsert":
                names = dice.sample(IDS, dice.choice([1, 1, 3]))
                payloads = [{"n": dice.randrange(3), "tag": dice.choice("abc")} for _ in names]
                return [
                    *map(
                        Seq, turn.vectors(collection).upsert(names, vectors(dice, len(names)), payloads, origin=origin)
                    )
                ]
            case "reindex":  # rows that their own lineage overwrites at once
                names = dice.sample(IDS, 3)
                batches = [turn.vectors("kb").upsert(names, vectors(dice, 3), origin=origin) for _ in range(2)]
                return [Seq(seq) for seqs in batches for seq in seqs]
            case "drop":
                return [
                    *map(Seq, turn.vectors(collection).delete(dice.sample(IDS, dice.choice([1, 3])), origin=origin))
                ]
            case "own":
                there = own(turn).entry(key)
                wanted = dice.choice([None, None, there.seq if there else 0])
                ttl = dice.choice([None, None, 3.0, 20.0])
                return Seq(own(turn).put(key, value, expect=wanted, ttl=ttl, origin=origin))
            case "own many":
                return [*map(Seq, own(turn).put_many({"case/3": value, key: value}, ttl=dice.choice([None, 9.0])))]
            case "below":
                return [*map(Seq, dice.choice([own(turn), turn.context]).delete_prefix("case/", origin=origin))]
            case "batch":
                return self._batch(turn, dice)
            case "cached":
                return turn.cache.get_or_compute(key, lambda: value)
            case "observe":
                return turn.observe("resolved", dice.choice([True, False]))
        return None

    def _batch(self, turn: kedge.Turn, dice: random.Random) -> Any:
        """Have some calls commit as one, which may meet at one key."""
        with turn.batch() as batch:
            for _ in range(dice.choice([1, 3, 6])):
                name, origin, kind = dice.choice(["kb", "wiki"]), dice.choice(ORIGINS), dice.randrange(5)
                ids = dice.sample(IDS, 2)
                match kind:
                    case 0:
                        turn.context.put(dice.choice(KEYS), dice.random(), origin=origin)
                    case 1:
                        own(turn).put(dice.choice(KEYS), "batched", expect=dice.choice([None, None, 0]))
                    case 2:
                        turn.documents("kb").put("d1", "batched", origin=origin)
                    case 3:
                        turn.vectors(name).upsert(ids, vectors(dice, 2), [{"n": 1}, {"n": 2}], origin=origin)
                    case _:
                        turn.vectors(name).delete(ids, origin=origin)
        return [*map(Seq, batch.seqs)]

    def _supersede(self, _: Step, dice: random.Random) -> Any:
        """Have rows moved away from a query by their own lineage and by a greater one; ask as somebody without both.

        The rows would be hits. What superseded them decides the answer, as far as its lineage is not the row's own.
        """
        own, greater, kept = dice.sample(IDS, 3)
        near, away = [1.0, 0.0, 0.0, 0.1], [0.0, 0.0, 1.0, 0.1]
        with self.k.turn(person="pat") as turn:
            turn.vectors("kb").upsert([kept], np.array([[1.0, 0.3, 0.0, 0.1]], np.float32))
        with self.k.turn(agent=AGENTS[0]) as turn:
            rows = turn.vectors("kb")
            for _again in range(9):
                rows.upsert([own, greater], np.array([near, near], np.float32))
            rows.upsert([own], np.array([away], np.float32))
            turn.artifacts.items("shared/")
            if dice.random() < 0.3:
                rows.delete([greater])
            else:
                rows.upsert([greater], np.array([away], np.float32))
        return self._ask(near, 1)

    def _ask(self, query: Any, k: int) -> Any:
        """Return what a search alone finds and has read."""
        with self.k.turn(person="pat") as turn:
            hits = turn.vectors("kb").search(query, k=k)
            read = turn._scope.log
            return hits_of(hits), sorted(turn.lineage), [Seq(seq) for seq in sorted(read._seqs)]

    # ------------------------------------------------------------ looks

    def _look(self, step: Step, dice: random.Random) -> Any:
        session = dice.choice([None, *SESSIONS])
        match step.what:
            case "ask":
                return self._ask(vectors(dice, 1)[0], dice.choice([1, 1, 2]))
            case "view":
                return self._shown(self.k.view(session=session), session, dice)
            case "past":
                points: list[str | int] = [*self.snapshots, dice.choice(self.ends)]
                return self._shown(self.k.at(points[step.pick % len(points)], session=session), session, dice)
            case "diff":
                return self.k.diff(self.k.view(), self.k.view(session="s1"))
            case "status":
                return msgspec.structs.replace(
                    self.k.status(), url="", schema=None, disk={}
                )  # each backend counts its own
            case "pending":
                return self.k.replay_pending()
            case "log":
                return [(e.kind, e.deployment, Seq(e.seq), e.epoch, e.at) for e in self.k.log(20)]
            case "verify":
                return vars_of(self.k.verify())
        return None

    def _shown(self, view: kedge.ReadView, session: str | None, dice: random.Random) -> Any:
        shown: dict[str, Any] = {
            "seen": sorted(view.seen),
            "artifacts": {key: artifact.value for key, artifact in view.artifacts.items("").items()},
            "context": [entry_of(entry) for entry in view.context.entries("")],
            "documents": [entry_of(entry) for entry in view.documents("kb").entries("")],
            "own": [entry_of(entry) for entry in own(view).entries()],
        }
        for collection in ("kb", "wiki", "far"):
            found = view.vectors(collection)
            hits = found.search(vectors(dice, 1)[0], k=dice.choice([1, 3, 50]), where=dice.choice(FILTERS))
            shown[collection] = (found.count(), sorted(found.ids()), hits_of(hits), hits.count_unembedded())
        if session is not None:
            shown["memory"] = [message_of(message) for message in view.memory.history(tombstones=True)]
        return shown


def own(face: Any) -> Any:
    """Return the space of the user's own store, of a turn or a view."""
    return face.store("own").space("t")


def vectors(dice: random.Random, count: int) -> Any:
    """Return one of few directions for each row, so that many are equal or nearly so."""
    near = [[dice.choice([0.0, 0.6, 0.8, 1.0]) for _ in range(DIM - 1)] + [0.1] for _ in range(count)]
    return np.array(near, np.float32)


def vars_of(value: Any) -> Any:
    """Return a report as built-in values, without times and rates that a machine decides."""
    fields = {name: getattr(value, name) for name in value.__struct_fields__}
    return {name: field for name, field in fields.items() if "seconds" not in name}


def entry_of(entry: kedge.Entry) -> Any:
    """Return what an entry says."""
    return entry.key, entry.value, Seq(entry.seq), sorted(entry.lineage), str(entry.origin)


def message_of(message: Any) -> Any:
    """Return what a message says."""
    return message.role, message.content, Seq(message.seq), message.retracted


def hits_of(hits: kedge.Hits) -> Any:
    """Return hits, with scores that are equal within 1e-6."""
    found = [
        (hit.collection, hit.id, round(hit.score, 6), hit.payload, Seq(hit.seq), sorted(hit.lineage)) for hit in hits
    ]
    return found, hits.exact


def first_difference(one: Any, other: Any, path: str = "") -> str:
    """Say where two answers differ first."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return next(first_difference(one[key], other[key], f"{path}.{key}") for key in one if one[key] != other[key])
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = zip(one, other, strict=True)
        return next(first_difference(a, b, f"{path}[{n}]") for n, (a, b) in enumerate(pairs) if a != b)
    return f"{path}: SQLite: {one!r}, PostgreSQL: {other!r}"


def differences(places: tuple[str, str], steps: list[Step]) -> Iterator[str]:
    """Run a program on two new databases; yield the steps that were run, and fail at the first other answer."""
    sides = [Side(place) for place in places]
    try:
        for number, step in enumerate(steps):
            answers = [side.run(step) for side in sides]
            yield f"{number}: {step}"
            assert answers[0] == answers[1], first_difference(*answers)
    finally:
        for side in sides:
            side.close()


def check(places: tuple[str, str], seed: int, steps: int = STEPS) -> None:
    """Run the program of a seed; raise with all of it if an answer differs."""
    done: list[str] = []
    try:
        done.extend(differences(places, program(seed, steps)))
    except Exception as error:
        listed = "\n".join(done)
        raise AssertionError(f"the program of seed {seed}, of {steps} steps:\n{listed}\n{error!r}\n{error}") from error


def main(first: int, last: int, steps: int = STEPS) -> None:
    """Run the programs of a range of seeds."""
    with postgres.running() as server:
        for seed in range(first, last):
            url = databases.create(server)
            with tempfile.TemporaryDirectory() as folder:
                check((f"sqlite:///{Path(folder) / 'kedge.db'}", url), seed, steps)
            databases.drop(server, url)
    print(f"{last - first} programs of {steps} steps: no difference")  # noqa: T201 - its result


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
