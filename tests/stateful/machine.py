"""State machine: random histories on Kedge and on the oracle, compared after every step."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import kedge
from kedge.ports.clock import SystemClock
from kedge.testing.oracle import Oracle, OracleTurn, View, Write
from tests.stateful.compare import check_lineage, check_same, shown, told
from tests.stateful.operations import CONTEXT_KEYS, RIGHT
from tests.stateful.ops import (
    COLLECTION,
    DIM,
    SHORT_SECONDS,
    Answer,
    Op,
    agree,
    attempt,
    derives,
    on_model,
    on_real,
)
from tests.stateful.other_process import OtherProcess, control

SESSIONS = ("s1", "s2", "s3")
PROMOTED = "s2"  # adopts what is promoted, where its first turn is of this process
AGENTS = ("helper", "librarian")
TEMP = "temp"  # an agent without artifacts
ARTIFACTS = ("helper/prompt", "librarian/prompt", "shared/embedder", "shared/policy")
WEIGHTS = (0.0, 0.5, 1.0)
STRICTNESS = ("full", "supervised", "frozen", "cautious", "fallback", "off")
MOST_TURNS = 4
NEWEST = ("append after", "replace", "clear")  # may expect a newest message
SPOKEN = ("append", "extend", "forget", "history", "history with tombstones", *NEWEST)  # need a session
COURSES = (  # what happens to one deployment in one step, and to which it can happen
    (("promote",), ("staged", "canary")),
    (("promote", "settle"), ("staged", "canary")),
    (("settle",), ("live",)),
    (("rollback",), ("live",)),
    (("rollback",), ("live",)),
    (("rollback",), ("staged", "canary", "live")),
    (("rollback", "reinstate"), ("canary", "live")),
    (("rollback", "purge"), ("canary", "live")),
    (("reinstate",), ("rolled back",)),
    (("reinstate",), ("rolled back",)),
    (("purge",), ("rolled back",)),
)

picks = st.integers(min_value=0, max_value=11)
sessions = st.sampled_from(SESSIONS)


class Ahead(SystemClock):
    """The system's clock, set ahead."""

    ahead = 0.0

    def now(self) -> float:
        """Return the time, and how far it was set ahead."""
        return super().now() + self.ahead


@dataclass
class Pair:
    """One turn, there and here."""

    real: kedge.Turn
    model: OracleTurn


class Machine(RuleBasedStateMachine):
    """Deployments, sessions, several open turns, snapshots, two handles and another process on one database.

    What turns do is a subclass's to say.
    """

    other: ClassVar[OtherProcess | None] = None  # started by the test that runs the machine, for all histories

    def __init__(self) -> None:
        super().__init__()
        self.clock = Ahead()
        self.folder = Path(tempfile.mkdtemp(prefix="kedge-histories-"))
        self.url = f"sqlite:///{self.folder / 'kedge.db'}"
        self.handles = [self.open()]
        self.handles[0].collection(COLLECTION, dim=DIM, fields=["n"])
        self.oracle = Oracle()
        self.oracle.collection(COLLECTION)
        self.turns: list[Pair] = []
        self.held: list[tuple[kedge.ReadView, View, str | None]] = []
        self.steps = 0
        self.values = 0
        self.rewinds: list[tuple[str, str, range]] = []
        self.past: list[tuple[str | int, str | None, Any]] = []
        self.levels: dict[str, tuple[str, str, str]] = {}  # by the id of an entry: kind and name of its scope, level

    def open(self) -> kedge.Kedge:
        """Open the database once more."""
        return kedge.open(self.url, durability="normal", clock=self.clock)

    def wait(self) -> None:
        """Let time pass, and write something: what another process writes has this time at least."""
        self.clock.ahead += SHORT_SECONDS + 1
        self.oracle.wait()
        with self.k.turn(person="pat") as turn:
            value = self.fresh()
            seq = turn.context.put("case/1", value)
        OracleTurn(self.oracle, self.oracle.view(), person="pat").put("context", "", "case/1", value, seq=seq)

    @property
    def k(self) -> kedge.Kedge:
        """One handle or the other, by turns."""
        return self.handles[self.steps % len(self.handles)]

    def fresh(self) -> int:
        """Return a value that was never written before."""
        self.values += 1
        return self.values

    def name(self, pick: int) -> str:
        """Return the name of a deployment that was made."""
        names = list(self.oracle.world().steps)
        return names[pick % len(names)]

    # ------------------------------------------------------------ deployments

    @initialize(embedder=st.booleans())
    def begin(self, *, embedder: bool) -> None:
        self.deploy({"helper/prompt": "first"}, None, None)
        librarian: dict[str, Any] = {"librarian/prompt": "first"}
        if embedder:
            librarian["shared/embedder"] = "first"
        self.deploy(librarian, None, None)
        self.change("promote", "r1")
        self.change("promote", "r2")

    @rule(
        keys=st.sets(st.sampled_from(ARTIFACTS), min_size=1, max_size=2),
        weight=st.sampled_from([None, None, *WEIGHTS]),
        independent=st.sampled_from([False, False, True]),
        upon=st.sampled_from([None, None, None, None, 0, 1, 2, 3]),
        attribution=st.sampled_from(["reads", "reads", "reads", "view"]),
        derived=st.sampled_from([None, None, None, None, "", *SESSIONS]),
    )
    def make_deployment(
        self,
        keys: set[str],
        weight: float | None,
        upon: int | None,
        *,
        independent: bool,
        attribution: str,
        derived: str | None,
    ) -> None:
        base = None if upon is None else self.name(upon)
        artifacts = {key: f"{key} {self.fresh()}" for key in sorted(keys)}
        if derived is not None:  # a session, or what is live where it has not begun
            derived = derived if derived in self.oracle.world().sessions else ""
        self.deploy(artifacts, weight, base, independent=independent, attribution=attribution, derived=derived)

    def deploy(
        self,
        artifacts: dict[str, Any],
        weight: float | None,
        base: str | None,
        *,
        independent: bool = False,
        attribution: Any = "reads",
        derived: str | None = None,
    ) -> None:
        """Stage a deployment on both, whatever it is named there; both must do it, or both refuse it."""
        name = f"r{len(self.oracle.world().steps) + 1}"
        options = {"canary": weight, "independent": independent, "base": base, "attribution": attribution}
        session = derived or None
        self.same(
            lambda: self.k.deploy(
                name, artifacts, **options, derived_from=None if derived is None else self.k.view(session=session)
            ),
            lambda: self.oracle.deploy(
                name, artifacts, **options, derived_from=None if derived is None else self.oracle.view(session)
            ),
        )
        world = self.oracle.world()
        if name in world.steps:
            made = self.k.deployment(name)
            needed = world.needs(name) - {name}
            assert set(made.bases) == {base for base in needed if world.status(base) not in {"settled", "purged"}}
            assert made.status == world.status(name)

    @rule(pick=picks, weight=st.sampled_from(WEIGHTS))
    def weigh(self, pick: int, weight: float) -> None:
        name = self.name(pick)
        self.same(lambda: self.k.canary(name, weight), lambda: self.oracle.canary(name, weight))

    @rule(course=st.sampled_from(COURSES), pick=picks, any_status=st.sampled_from([False, False, False, True]))
    def move(self, course: tuple[tuple[str, ...], tuple[str, ...]], pick: int, *, any_status: bool) -> None:
        verbs, statuses = course
        fit = sorted(self.oracle.world().having(*statuses))
        name = self.name(pick) if any_status or not fit else fit[pick % len(fit)]
        for verb in verbs:
            if verb == "rollback" and self.oracle.world().status(name) in ("staged", "canary", "live"):
                self.compare_plan(name)
            self.change(verb, name)

    def compare_plan(self, name: str) -> None:
        """A plan says how many writes a rollback will hide, and which deployments go with it."""
        plan, world = self.k.plan(name), self.oracle.world()
        assert plan.writes_total == len(self.oracle.will_hide(name))
        assert set(plan.goes_with_it) == (world.dependants(name) & world.standing) - {name}

    def change(self, verb: str, name: str) -> None:
        self.same(lambda: control(self.k, verb, name), lambda: getattr(self.oracle, verb)(name))
        world = self.oracle.world()
        gone = {i for i, (kind, of, _) in self.levels.items() if kind == "deployment" and world.status(of) == "purged"}
        self.levels = {ident: entry for ident, entry in self.levels.items() if ident not in gone}

    def same(self, real: Any, model: Any) -> None:
        """Make a control change on both; both must do it, or both refuse it."""

        def done(call: Any) -> Answer:
            call()
            return Answer()

        theirs, ours = attempt(lambda: done(real)), attempt(lambda: done(model))
        assert agree(theirs.error, ours.error), f"the real thing: {theirs.error}, the oracle: {ours.error}"

    # ------------------------------------------------------------ levels

    @rule(
        kind=st.sampled_from(["everything", "feature", "feature", "session", "deployment", "cohort"]),
        level=st.sampled_from(STRICTNESS[1:]),
        pick=picks,
        lift=st.sampled_from([False, True]),
    )
    def degrade(self, kind: str, level: Any, pick: int, *, lift: bool) -> None:
        """Tighten something, or loosen what was tightened: open turns go on under it."""
        if self.levels and (lift or len(self.levels) > 2):
            ident = sorted(self.levels)[pick % len(self.levels)]
            self.k.ladder.loosen(ident, by="ann")
            del self.levels[ident]
            return
        named = {"feature": AGENTS[pick % 2], "session": SESSIONS[pick % 3], "deployment": self.name(pick)}
        name = named.get(kind, "0-0.5" if kind == "cohort" else "")
        if kind == "deployment" and self.oracle.world().status(name) == "purged":
            return
        entry = self.k.ladder.tighten(level, f"{kind}:{name}" if name else kind, by="ann")
        self.levels[entry.id] = (kind, name, level)

    def level_of(self, pair: Pair) -> str:
        """Return the level of an open turn, by looking at every entry."""
        seen, found = self.oracle.seen(pair.model.view), ["full"]
        for kind, name, level in self.levels.values():
            half = hashlib.sha256(f"\0{pair.model.session}".encode()).digest()[0] < 0x80
            covers = {
                "everything": True,
                "feature": pair.model.agent == name,
                "session": pair.model.session == name,
                "deployment": name in seen,
                "cohort": pair.model.session is not None and half,
            }
            found += [level] if covers[kind] else []
        return max(found, key=STRICTNESS.index)

    def goes_on(self, pair: Pair) -> bool:
        """Whether a turn may go on, by the oracle."""

        def check() -> Answer:
            pair.model.check()
            return Answer()

        return attempt(check).error is None

    def is_refused(self, pair: Pair, op: Op) -> bool:
        """Whether the level refuses what an operation would write; check the level of the turn meanwhile."""
        if not self.goes_on(pair):
            return False
        level = self.level_of(pair)
        assert pair.real.level == level, f"the real thing: {pair.real.level}, the entries: {self.levels}"
        return STRICTNESS.index(level) > STRICTNESS.index("supervised") and derives(op, pair.model.person)

    # ------------------------------------------------------------ points, handles

    @rule()
    def take_snapshot(self) -> None:
        name = f"point-{self.fresh()}"
        self.k.snapshot(name)
        self.oracle.snapshot(name)
        for session in (None, SESSIONS[0]):
            with_session = session is not None and session in self.oracle.world().sessions
            self.past.append((name, session if with_session else None, self.read_past(name, session)))

    @rule(
        what=st.sampled_from(
            [
                *("second handle", "reopen", "refresh", "let go", "hold", "hold", "wait", "turn elsewhere"),
                "change elsewhere",
            ]
        ),
        session=sessions,
        pick=picks,
    )
    def seldom(self, what: str, session: str, pick: int) -> None:
        """Do what would crowd out the rest if each had a rule to itself."""
        match what:
            case "second handle" if len(self.handles) == 1:
                self.handles.append(self.open())
            case "wait":
                self.wait()
            case "reopen":
                self.close_all()
                self.handles = [self.open()]
            case "refresh":
                self.oracle.refresh(session, frozenset(self.k.refresh(session)))
            case "let go" if self.oracle.snapshots:
                self.let_go(list(self.oracle.snapshots)[pick % len(self.oracle.snapshots)])
            case "hold":
                self.hold(session if session in self.oracle.world().sessions else None)
            case "turn elsewhere":
                self.turn_elsewhere(session, AGENTS[pick % 2], CONTEXT_KEYS[pick % len(CONTEXT_KEYS)])
            case "change elsewhere":
                self.change_elsewhere(("rollback", "reinstate", "promote")[pick % 3], self.name(pick))

    @rule(what=st.sampled_from(["fork", "rewind", "rewind", "undo", "undo"]), session=sessions, pick=picks)
    def change_session(self, what: str, session: str, pick: int) -> None:
        """Fork or rewind a session, or undo a rewind."""
        match what:
            case "fork":
                self.fork(session, pick)
            case "rewind" if session in self.oracle.world().sessions:
                self.rewind(session, pick)
            case "undo" if self.rewinds:
                self.undo(*self.rewinds[pick % len(self.rewinds)])

    def fork(self, session: str, pick: int) -> None:
        """Begin a session as a copy of another."""
        begun = sorted(self.oracle.world().sessions)
        if begun and session not in begun:
            source = begun[pick % len(begun)]
            forked = self.k.fork_session(source, session)
            self.oracle.fork(source, session, self.seqs_of("fork-session", session)[: forked.writes])

    def rewind(self, session: str, pick: int) -> None:
        """Take a session back to one of its messages, or to the beginning."""
        seqs = [w.seq for w in self.oracle.history if isinstance(w, Write) and w.space == session and w.seq]
        to = [0, *seqs][-1 - pick % min(4, len(seqs) + 1)]
        after = self.oracle.after_seq(to) if to else 0
        done = self.k.rewind(session, to)
        self.rewinds.append((done.id, session, self.oracle.rewind(session, after, self.seqs_of("rewind", session))))

    def undo(self, ident: str, session: str, written: range) -> None:
        """Undo a rewind, perhaps once more."""
        self.k.undo_rewind(ident)
        self.oracle.rewind(session, written.start, self.seqs_of("undo-rewind", session), of=written)

    def seqs_of(self, kind: str, session: str) -> list[int]:
        """Return the seqs that the newest change of a session wrote at."""
        detail = next(e.detail for e in self.k.log() if e.kind == kind and e.detail["session"] == session)
        return list(range(detail["first"], detail["last"] + 1)) if detail["last"] else []

    def hold(self, session: str | None) -> None:
        """Open a view and keep it: what happens next must show in it."""
        self.held = [*self.held[-2:], (self.k.view(session=session), self.oracle.view(session), session)]

    @rule()
    def compact(self) -> None:
        """Reclaim all that a horizon at the present lets go; the oracle keeps it, and must not miss it."""
        self.k.set_retention(0)
        self.k.optimize()
        self.k.set_retention(None)

    def let_go(self, name: str) -> None:
        self.k.release_snapshot(name)
        self.oracle.release_snapshot(name)
        self.past = [read for read in self.past if read[0] != name]

    # ------------------------------------------------------------ sessions and turns

    @rule(
        session=st.sampled_from([None, *SESSIONS, *SESSIONS]),
        who=st.sampled_from([*AGENTS, *AGENTS, "person", TEMP]),
        inside=st.sampled_from([None, None, None, *range(6)]),
    )
    def begin_turn(self, session: str | None, who: str, inside: int | None) -> None:
        self.begin_turn_for(session, who, None if inside is None else self.name(inside))

    def begin_turn_for(self, session: str | None, who: str, deployment: str | None) -> None:
        """Begin a turn on both; both must do it, or both refuse it."""
        agent, person = (None, "pat") if who == "person" else (who, None)
        new = session is not None and session not in self.oracle.world().sessions
        promoted = new and session == PROMOTED
        refresh: Any = "promoted" if promoted else None
        theirs = attempt(
            lambda: Answer(self.k.turn(session, agent, person=person, deployment=deployment, refresh=refresh))
        )
        if session is not None and new and theirs.error is None:
            self.oracle.begin_session(session, frozenset(self.k.assignment(session)), deployment, promoted=promoted)
        elif session is not None and not new and theirs.error in (None, "SessionBegun"):
            self.oracle.begin_root_turn(session)
        view = attempt(lambda: Answer(self.oracle.view(session, deployment)))
        assert agree(theirs.error, view.error), f"the real thing: {theirs.error}, the oracle: {view.error}"
        if theirs.error is None:
            model = OracleTurn(self.oracle, view.value, session=session, agent=agent, person=person)
            self.add(Pair(theirs.value, model))

    def add(self, pair: Pair) -> None:
        if len(self.turns) == MOST_TURNS:
            self.turns.pop(0).real.close()
        check_lineage(pair.real, pair.model)
        self.turns.append(pair)

    @precondition(lambda self: self.turns)
    @rule(pick=picks)
    def end_turn(self, pick: int) -> None:
        self.turns.pop(pick % len(self.turns)).real.close()

    @precondition(lambda self: self.turns)
    @rule(pick=picks, agent=st.sampled_from(AGENTS), as_child=st.booleans())
    def call_another(self, pick: int, agent: str, *, as_child: bool) -> None:
        """One agent calls another, which joins its lineage and sees what it sees."""
        caller = self.turns[pick % len(self.turns)]
        if as_child:
            theirs = attempt(lambda: Answer(kedge.Turn(caller.real._kernel, agent=agent, parent=caller.real)))
            ours = attempt(lambda: Answer(caller.model.call(agent)))
            assert agree(theirs.error, ours.error), f"the real thing: {theirs.error}, the oracle: {ours.error}"
            if theirs.error is None:
                self.add(Pair(theirs.value, ours.value))
            return
        if not self.sound(caller):
            return
        real = self.k.turn(agent=agent, parent=caller.real.headers())
        model = OracleTurn(
            self.oracle, caller.model.view, session=caller.model.session, agent=agent, caller=caller.model
        )
        self.add(Pair(real, model))

    @precondition(lambda self: len(self.turns) > 1)
    @rule(pick=picks, other=picks, as_child=st.booleans())
    def absorb(self, pick: int, other: int, *, as_child: bool) -> None:
        """One turn takes over what another has read."""
        caller, callee = (self.turns[n % len(self.turns)] for n in (pick, other))
        as_child = as_child and caller.real._kernel is callee.real._kernel
        if caller is not callee and (as_child or (self.sound(caller) and self.sound(callee))):
            sent = callee.real if as_child else callee.real.headers()

            def really() -> Answer:
                caller.real.absorb(sent)
                return Answer()

            def as_modelled() -> Answer:
                caller.model.absorb(callee.model, as_child=as_child)
                return Answer()

            theirs, ours = attempt(really), attempt(as_modelled)
            assert agree(theirs.error, ours.error), f"the real thing: {theirs.error}, the oracle: {ours.error}"
            check_lineage(caller.real, caller.model)

    def sound(self, pair: Pair) -> bool:
        """May this turn go on? If not, the real one must raise just that, and both end."""

        def check() -> Answer:
            pair.model.check()
            return Answer()

        ours = attempt(check)
        if ours.error is None:
            return True
        theirs = attempt(lambda: Answer(pair.real.context.get("case/1")))
        assert agree(theirs.error, ours.error), f"the real thing: {theirs.error}, the oracle: {ours.error}"
        self.end(pair)
        return False

    def end(self, pair: Pair) -> None:
        pair.real.close()
        self.turns.remove(pair)

    # ------------------------------------------------------------ what turns do

    def do(self, pair: Pair, op: Op) -> None:
        """Have an open turn do `op`, there and here."""
        if self.is_refused(pair, op):
            told = on_real(pair.real, Op("put", name=CONTEXT_KEYS[0], value=self.fresh(), origin="derived"))
            assert told.error == "Frozen"
            check_lineage(pair.real, pair.model)
            return
        op = self.settle_details(pair, op)
        theirs = on_real(pair.real, op)
        ours = on_model(pair.model, op, theirs)
        assert agree(theirs.error, ours.error), f"the real thing: {theirs.error}, the oracle: {ours.error}"
        if theirs.error in ("RolledBack", "SettledMeanwhile"):
            self.end(pair)
            return
        assert theirs.value == ours.value, f"{op.kind}: the real thing: {theirs.value}, the oracle: {ours.value}"
        check_lineage(pair.real, pair.model)

    def settle_details(self, pair: Pair, op: Op) -> Op:
        """Give a write a value that was never written, and a compare-and-set a seq to expect."""
        expect = op.expect
        if expect == RIGHT:
            place = (op.store, "t" if op.store == "own" else "")
            heads = self.oracle.present(pair.model.view, *place)
            messages = list(self.oracle.present(pair.model.view, "memory", pair.model.session or "").values())
            head = (messages[-1] if messages else None) if op.kind in NEWEST else heads.get(op.name)
            expect = head.seq if head else 0
        match op.kind:
            case "put" | "append" | "append after":
                op = replace(op, value=self.fresh())
            case "replace":
                seqs = [
                    w.seq for w in self.oracle.present(pair.model.view, "memory", pair.model.session or "").values()
                ]
                after = [0, *seqs][self.fresh() % (len(seqs) + 1)]
                op = replace(op, value=(("user", self.fresh()), ("assistant", self.fresh())), limit=after)
            case "put many":
                op = replace(op, value=tuple((name, self.fresh()) for name in op.value))
            case "batch":
                op = replace(op, ops=tuple(self.settle_details(pair, part) for part in op.ops))
            case "extend":
                op = replace(op, value=(("user", self.fresh()), ("assistant", self.fresh())))
            case "forget":
                heads = self.oracle.heads(pair.model.view, "memory", pair.model.session or "")
                seqs = [w.seq for w in self.oracle.visible(pair.model.view) if w.name in heads and w.store == "memory"]
                op = replace(op, value=seqs[-1] if seqs else 1)
        return replace(op, expect=expect)

    def work(self, pick: int, ops: list[Op]) -> None:
        """Have one turn do these, as far as it gets; begin one where none is open."""
        if not self.turns:
            self.begin_turn_for(SESSIONS[pick % 3], AGENTS[pick % 2], None)
        pair = self.turns[pick % len(self.turns)]
        for op in ops:
            if pair in self.turns and (pair.model.session or op.kind not in SPOKEN):
                self.do(pair, op)

    # ------------------------------------------------------------ another process

    def turn_elsewhere(self, session: str, agent: str, key: str) -> None:
        """Have a whole turn done in the other process."""
        if self.other is None or self.levels:
            return
        value = self.fresh()
        new = session not in self.oracle.world().sessions
        answer = self.other.ask(do="turn", url=self.url, session=session, agent=agent, key=key, value=value)
        assert "error" not in answer, answer
        if new:
            self.oracle.begin_session(session, frozenset(answer["seen"]))
        else:
            self.oracle.begin_root_turn(session)
        turn = OracleTurn(self.oracle, self.oracle.view(session), session=session, agent=agent)
        head = turn.get("context", "", key)
        assert answer["read"] == (head.value if head else None)
        turn.put("context", "", key, value, seq=answer["seqs"][0])
        turn.append("assistant", value, seq=answer["seqs"][1])
        assert set(answer["lineage"]) == turn.lineage

    def change_elsewhere(self, verb: str, name: str) -> None:
        """Have a control change made in the other process."""
        if self.other is None:
            return
        answer = self.other.ask(do="control", url=self.url, verb=verb, name=name)
        ours = attempt(lambda: Answer(getattr(self.oracle, verb)(name)))
        assert agree(answer.get("error"), ours.error), f"{answer}, the oracle: {ours.error}"

    # ------------------------------------------------------------ what must hold after every step

    @invariant()
    def views_agree(self) -> None:
        self.steps += 1
        world = self.oracle.world()
        begun = sorted(world.sessions)
        questions: list[tuple[str | None, str | None]] = [(None, None), *((s, None) for s in begun)]
        questions += [(None, name) for name in sorted(world.standing)]
        self.compare_view(*questions[self.steps % len(questions)])
        if self.held:
            held, view, session = self.held[self.steps % len(self.held)]
            self.compare(held, view, session)
        self.compare_past()

    def compare_view(self, session: str | None, deployment: str | None) -> None:
        self.compare(
            self.k.view(session=session, deployment=deployment), self.oracle.view(session, deployment), session
        )

    def compare(self, real: kedge.ReadView, view: View, session: str | None) -> None:
        """Compare all that a view of the present shows."""
        assert real.seen == self.oracle.seen(view) - self.oracle.world().settled
        check_same(shown(real, self.oracle.world().settled, session=session), told(self.oracle, view, session=session))

    def compare_past(self) -> None:
        """One point of the past, by name or by seq: the oracle's answer, and the answer that was given before."""
        points = self.points()
        if not points:
            return
        point = points[self.steps % len(points)]
        session = SESSIONS[self.steps % 3] if self.steps % 2 else None
        self.read_past(point, session)
        if self.past and self.steps % 2:
            name, session, before = self.past[self.steps % len(self.past)]
            now = self.read_past(name, session)
            assert now in (before, "PastUnreadable")

    def points(self) -> list[str | int]:
        """Return some points of the past that can be read."""
        seqs = [entry.seq for entry in self.oracle.history if isinstance(entry, Write) and entry.seq]
        return [*self.oracle.snapshots, *seqs[:: max(1, len(seqs) // 3)]]

    def read_past(self, point: str | int, session: str | None) -> Any:
        """Read at a point, compared with the oracle."""
        upto = self.oracle.snapshots[point] if isinstance(point, str) else self.oracle.after_seq(point)
        world = self.oracle.world(upto)
        if session not in world.sessions:
            session = None
        try:
            real: Any = shown(self.k.at(point, session=session), world.settled, session=session)
        except kedge.PastUnreadable as error:
            if "reclaimed by a compaction" in str(error):
                assert isinstance(point, int), "a snapshot keeps what it shows"
                return "PastUnreadable"
            real = "PastUnreadable"
        ours = attempt(lambda: Answer(told(self.oracle, self.oracle.view(session, at=point), session=session)))
        if ours.error or isinstance(real, str):
            assert real == ours.error
        else:
            check_same(real, ours.value)
        return real

    def close_all(self) -> None:
        for pair in self.turns:
            pair.real.close()
        self.turns, self.held = [], []
        for handle in self.handles:
            handle.close()

    def teardown(self) -> None:
        try:
            world = self.oracle.world()
            for session in (None, *world.sessions):
                self.compare_view(session, None)
            for name in world.standing:
                self.compare_view(None, name)
            for point in self.oracle.snapshots:
                self.read_past(point, None)
            for deployment in self.handles[0].deployments():
                assert deployment.status == world.status(deployment.name)
        finally:
            self.close_all()
            shutil.rmtree(self.folder, ignore_errors=True)
