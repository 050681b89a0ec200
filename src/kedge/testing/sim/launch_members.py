"""Members of the launch simulation: they serve sessions under levels; and a person, who stops and asks."""

from contextlib import suppress
from typing import Any

from kedge.errors import RolledBack
from kedge.guard.launch_state import Request
from kedge.model.ladder import EVERYTHING, LevelEntry, LevelSource, effective
from kedge.model.levels import Level
from kedge.model.rights import may
from kedge.ports.control import EpochMoved
from kedge.testing.sim.checks import Checks
from kedge.testing.sim.engine import Call, Lost, Node, Process, Sleep
from kedge.testing.sim.engine import World as Simulation
from kedge.testing.sim.launch_checks import LaunchChecks
from kedge.testing.sim.launch_store import CANARY, Seat
from kedge.testing.sim.nodes import MemberNode

FEATURE = "support"


class Traffic:
    """What the sessions are like: how often each arm fails, and how long a verdict takes."""

    def __init__(self, canary: float, baseline: float, canary_delay: float, baseline_delay: float) -> None:
        self.fails = {"canary": canary, "baseline": baseline}
        self.delay = {"canary": canary_delay, "baseline": baseline_delay}
        self.rate = 3.0  # sessions a second of each member


class ServingNode(MemberNode):
    """A member that serves sessions: it acts as its level permits, and reports a verdict later."""

    def __init__(
        self, world: Simulation, fleet_checks: Checks, checks: LaunchChecks, node: Node, lease: float, traffic: Traffic
    ) -> None:
        self._launch, self._traffic = checks, traffic
        super().__init__(world, fleet_checks, node, lease, 0.5)

    def _work(self) -> Process:
        while True:
            yield Sleep(self._world.dice.expovariate(self._traffic.rate))
            if self.lease.holds(self.now()):
                with suppress(Lost, RolledBack):
                    yield from self._serve()

    def _serve(self) -> Process:
        seat: Seat = yield Call("begin_session")
        entries, epoch = yield from self.known()
        if not self.lease.holds(self.now()):
            return
        if self.permits(entries, seat):
            self._launch.acted_outside(self.node.name, seat, self.lease.seconds)  # at once, without the database
            with suppress(EpochMoved):
                yield Call("effect", (epoch, str(seat.number), seat.arm))
        self._world.spawn(self.node, self._judge(seat))

    def known(self) -> Process:
        """Return the level entries of the epoch that this member has caught up with, and that epoch."""
        epoch = self.knows
        found: tuple[LevelEntry, ...] = yield Call("entries_at", (epoch,))
        return found, epoch

    def permits(self, entries: Any, seat: Seat) -> bool:
        """Return whether the level of a session permits an irreversible effect."""
        deployments = frozenset({CANARY}) if seat.arm == "canary" else frozenset()
        level = effective(entries, feature=FEATURE, session=str(seat.number), deployments=deployments)
        return may(level, "act", reversibility="irreversible").permits

    def _judge(self, seat: Seat) -> Process:
        dice = self._world.dice
        yield Sleep(dice.expovariate(1 / self._traffic.delay[seat.arm]))
        with suppress(Lost):
            yield Call("observe", (seat, dice.random() >= self._traffic.fails[seat.arm]))


class PersonNode:
    """A person: stops everything, lifts that again, pauses and resumes the launch."""

    def __init__(self, world: Simulation, node: Node, *, often: float) -> None:
        self._world, self._often = world, often
        self.node = node
        self.resting = False
        self._asked = 0
        self.begin()

    def begin(self) -> None:
        """Start."""
        if self._often:
            self._world.spawn(self.node, self._live())

    def _live(self) -> Process:
        dice = self._world.dice
        while True:
            yield Sleep(dice.expovariate(1 / self._often))
            if self.resting:
                return
            self._asked += 1
            if dice.random() < 1 / 2:
                stop = LevelEntry(f"stop-{self._asked}", EVERYTHING, Level.OFF, LevelSource.PERSON, "person")
                yield from self._again("enter", stop)
                yield Sleep(dice.uniform(1.0, 16.0))
                yield from self._again("lift", stop.id, LevelSource.PERSON)
            else:
                for verb in ("pause", "resume"):
                    yield from self._again("ask", f"{verb}-{self._asked}", Request(0, verb, "person"))
                    yield Sleep(dice.uniform(1.0, 16.0))

    def _again(self, method: str, *arguments: object) -> Process:
        """Call until there is an answer."""
        while True:
            try:
                return (yield Call(method, arguments))
            except Lost:
                continue
