"""Launch simulation of one seed: pilots, members and a person with faults, then a quiet phase, then the last checks."""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from kedge.guard.release import Release, read_release
from kedge.testing.sim.checks import Checks, Violation
from kedge.testing.sim.engine import Call, Network, Node, World
from kedge.testing.sim.launch_checks import LaunchChecks
from kedge.testing.sim.launch_members import PersonNode, ServingNode, Traffic
from kedge.testing.sim.launch_pilots import Make, PilotNode
from kedge.testing.sim.launch_store import LaunchStore
from kedge.testing.sim.play import DRIFT

PILOTS, MEMBERS = 2, 2
FAULTY_SECONDS, QUIET_SECONDS = 50.0, 70.0
BAD, SHAKY, GOOD = 0.9, 0.4, 0.1  # the failure rates of a canary
SHAKY_SECONDS = 15.0
RELEASE: Release = read_release({
    "deployment": "v2", "ramp": [0.25, 0.5], "min_sessions": 20, "soak": 4.0, "watch": 15.0, "holdback": 0.2,
    "recover_sessions": 5, "dwell": 3.0, "hold": 2.0, "degrade": 3.0, "alpha": 0.01,
    "metrics": {"resolved": {"kind": "success", "deadline": 5.0, "max_missing": 0.5, "margin": 0.2}},
}).release  # fmt: skip


class LaunchOutcome(msgspec.Struct, frozen=True):
    """The result of a run: the violation, if any, a digest of the trace, and what happened."""

    seed: int
    violation: str | None
    digest: str
    phase: str
    is_bad: bool
    looks: int
    actions: tuple[str, ...]
    effects: int
    outside: int
    calls: int
    trace: tuple[tuple[Any, ...], ...]


class LaunchParts(msgspec.Struct, frozen=True):
    """The parts of a run. A mutation test replaces them, or functions of the engine."""

    store: Callable[..., LaunchStore] = LaunchStore
    world: Callable[[int, Any], World] = World
    pilot: Make = PilotNode
    member: Callable[..., ServingNode] = ServingNode


class KillAt(msgspec.Struct):
    """Kill the pilot that makes a call, before the call is sent or after its answer; `calls` counts them."""

    call: int
    after: bool = False
    calls: int = 0


def play_launch(seed: int, parts: LaunchParts | None = None, *, kill: KillAt | None = None) -> LaunchOutcome:
    """Run one seed: with faults of its own, or with one kill and no other fault."""
    return _Run(seed, parts or LaunchParts(), kill).play()


class _Run:
    def __init__(self, seed: int, parts: LaunchParts, kill: KillAt | None) -> None:
        self.seed, self.kill = seed, kill
        self.world = world = parts.world(seed, None)
        dice = world.dice
        database = Node("db", 1e6, dice.choice((1 - DRIFT, 1.0, 1 + DRIFT)))
        self.store = world.store = parts.store(RELEASE, lambda: world.clock(database), dice)
        self.checks = LaunchChecks(world, self.store, DRIFT)
        kind = dice.choice(("bad", "good", "shaky"))
        self.is_bad = kind == "bad"
        traffic = Traffic(BAD if kind == "bad" else GOOD, GOOD, *dice.choice(((0.5, 0.5), (0.5, 2.0), (2.0, 0.5))))
        if kind == "shaky":  # it recovers: the guard degrades it, and restores it by and by
            traffic.fails["canary"] = SHAKY
            world.at(SHAKY_SECONDS, lambda: traffic.fails.update(canary=GOOD))
        lease = dice.choice((2.0, 5.0))
        fleet = Checks(DRIFT)
        self.members = [
            parts.member(world, fleet, self.checks, self._node(f"m{n}"), lease, traffic) for n in range(MEMBERS)
        ]
        self.pilots = [parts.pilot(world, self._node(f"p{n}"), RELEASE) for n in range(PILOTS)]
        self.person = PersonNode(world, self._node("person"), often=0.0 if kill else dice.choice((0.0, 6.0)))

    def _node(self, name: str) -> Node:
        rate = self.world.dice.choice((1 - DRIFT, 1.0, 1 + DRIFT))
        return Node(name, self.world.dice.uniform(0, 1e6), rate)

    def _nodes(self) -> list[PilotNode | ServingNode]:
        return [*self.pilots, *self.members]

    def play(self) -> LaunchOutcome:
        """Run all phases; return what was found."""
        world, violation = self.world, None
        try:
            if self.kill is None:
                self._faults()
            else:
                self._arm(self.kill)
            world.run(FAULTY_SECONDS)
            self._calm()
            world.run(FAULTY_SECONDS + QUIET_SECONDS)
            self.checks.finish(is_bad=self.is_bad)
        except Violation as found:
            violation = str(found)
            world.tell("VIOLATION", violation)
        digest = hashlib.sha256(repr(world.trace).encode()).hexdigest()
        phase = msgspec.json.decode(self.store.row.state).get("phase", "gates")
        calls = 0 if self.kill is None else self.kill.calls
        return LaunchOutcome(
            self.seed, violation, digest, phase, self.is_bad, len(self.store.looks), tuple(self.checks.actions),
            self.checks.effects, self.checks.outside, calls, tuple(world.trace),
        )  # fmt: skip

    def _faults(self) -> None:
        world, dice = self.world, self.world.dice
        world.network = Network(
            drop=dice.choice((0.0, 0.02, 0.2)), double=dice.choice((0.0, 0.05)), late=dice.choice((0.0, 0.02, 0.1))
        )
        between = dice.choice((4.0, 12.0, 60.0))
        for each in self._nodes():
            time = dice.expovariate(1 / between)
            while time < FAULTY_SECONDS:
                kind, length = dice.choice(("pause", "cut", "kill")), dice.choice((0.5, 5.0, 20.0)) * dice.random()
                world.at(time, partial(self._fault, each, kind, length))
                time += dice.expovariate(1 / between)

    def _fault(self, each: PilotNode | ServingNode, kind: str, length: float) -> None:
        world, node = self.world, each.node
        if not node.alive:
            return
        world.tell(node.name, kind, round(length, 3))
        if kind == "pause":
            node.paused_until = max(node.paused_until, world.time + length)
        elif kind == "cut":
            node.cut_until = max(node.cut_until, world.time + length)
        else:
            self._die(each, length)

    def _die(self, each: PilotNode | ServingNode, seconds: float) -> None:
        each.node.alive = False
        self.world.at(self.world.time + seconds, lambda: self._revive(each))

    @staticmethod
    def _revive(each: PilotNode | ServingNode) -> None:
        if not each.node.alive:
            each.node.alive = True
            each.node.life += 1
            each.begin()

    def _calm(self) -> None:
        """End all faults; what was down comes back."""
        self.world.network = Network()
        self.person.resting = True
        for each in self._nodes():
            each.node.cut_until = each.node.paused_until = self.world.time
            self._revive(each)

    def _arm(self, kill: KillAt) -> None:
        """Kill the pilot at one of its calls."""
        do = self.world._do  # noqa: SLF001 - the network of the simulation
        pilots = {pilot.node.name: pilot for pilot in self.pilots}

        def watched(node: Node, call: Call) -> Any:
            pilot = pilots.get(node.name)
            if pilot is None:
                return do(node, call)
            kill.calls += 1
            if kill.calls != kill.call:
                return do(node, call)
            value = do(node, call) if kill.after else None
            self.world.tell(node.name, "kill", call.method)
            self._die(pilot, 20.0)
            return value

        self.world._do = watched  # type: ignore[method-assign] # noqa: SLF001
