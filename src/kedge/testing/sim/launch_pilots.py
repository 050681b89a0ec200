"""Pilots of the launch simulation: the lease, the looks and the actions, driven by the engine that is shipped."""

from collections.abc import Callable
from contextlib import suppress

import msgspec

from kedge.errors import Conflict, NotPermitted
from kedge.guard import engine
from kedge.guard.launch_state import ENDED, State
from kedge.guard.release import Release
from kedge.model.launches import PilotLost
from kedge.testing.sim.engine import Call, Lost, Node, Process, Sleep
from kedge.testing.sim.engine import World as Simulation
from kedge.testing.sim.launch_store import Row

LOOK_SECONDS = 2.0
LEASE_SECONDS = 6.0


class PilotNode:
    """A process that pilots the launch while it holds its lease, and waits for the lease otherwise."""

    def __init__(self, world: Simulation, node: Node, release: Release) -> None:
        self._world, self._release = world, release
        self.node = node
        self.begin()

    def begin(self) -> None:
        """Start with empty memory, under a name of its own."""
        self.uid = f"{self.node.name}.{self.node.life}"
        self._world.spawn(self.node, self._live())

    def now(self) -> float:
        """Return the time on this node's clock."""
        return self._world.clock(self.node)

    def _live(self) -> Process:
        while True:
            with suppress(Lost, PilotLost):
                yield from self._pilot()
            yield Sleep(LOOK_SECONDS * self._world.dice.uniform(0.5, 1.5))

    def _pilot(self) -> Process:
        """Finish what an earlier pilot began, then take one look, and do what it asks for."""
        row: Row = yield Call("acquire", (self.uid, LEASE_SECONDS))
        if row.holder != self.uid:
            return
        if row.done < row.version:
            yield from self.finish(row)
        found = yield Call("look")
        if found.row.version != row.version or found.row.holder != self.uid:
            return
        state = self.restored(found.row)
        if state.phase in ENDED:
            return
        outcome = engine.advance(self._release, state, found.units, found.world)
        if outcome.state == state and not outcome.actions and not found.units:
            return
        yield from self._again("advance", self.uid, row.version, found, outcome)
        if outcome.actions:
            yield from self._act(Row(b"", row.version + 1, row.version, outcome.actions, 0))

    def restored(self, row: Row) -> State:
        """Return the state of the launch."""
        return msgspec.json.decode(row.state, type=State)

    def finish(self, row: Row) -> Process:
        """Do what the newest look asks for and what is not done."""
        yield from self._act(row)

    def _act(self, row: Row) -> Process:
        """Do the actions of a version, in order; each is done once, whichever pilot comes by."""
        trouble = ""
        for place, action in enumerate(row.actions):
            stored: Row = yield from self._again("get")
            if (stored.holder, stored.version) != (self.uid, row.version):
                raise PilotLost(f"{self.uid} is not the pilot of version {row.version}")
            try:
                yield from self._again("act", row.version, place, self.operation(row.version, place), action)
            except (Conflict, NotPermitted) as error:
                trouble = f"{action.kind} was not done: {error}"
        yield from self._again("mark_done", self.uid, row.version, trouble)

    def operation(self, version: int, place: int) -> str:
        """Return the name of an action: the same for every pilot."""
        return f"{version}:{place}"

    def _again(self, method: str, *arguments: object) -> Process:
        """Call; repeat the same call where its answer is lost. The database runs it once."""
        for _ in range(3):
            try:
                return (yield Call(method, arguments))
            except Lost:
                continue
        raise Lost(method)


Make = Callable[[Simulation, Node, Release], PilotNode]
