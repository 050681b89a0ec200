"""Members and controllers of the fleet simulation. All their decisions are those of `kedge.model.fleet`."""

from contextlib import suppress

from kedge.errors import RolledBack
from kedge.model import assignment, entries, fleet, transitions, turns
from kedge.model import control as rules
from kedge.model.fleet import CatchUp, CountOut, Lease, Look, Pause, Refresh, Standing
from kedge.model.lineage import Lineage
from kedge.model.visibility import View
from kedge.ports.control import EpochMoved
from kedge.testing.sim.checks import Checks
from kedge.testing.sim.engine import Call, Lost, Node, Process, Sleep, World
from kedge.testing.sim.store import Flip, Write

KEYS = 6
POLL_SECONDS = 0.25


class MemberNode:
    """A member: renews its lease, runs turns, and answers reads at the epoch it knows."""

    def __init__(self, world: World, checks: Checks, node: Node, lease_seconds: float, slow_seconds: float) -> None:
        self._world, self._checks = world, checks
        self._lease_seconds = lease_seconds
        self._slow_seconds = slow_seconds  # the longest time that catching up takes
        self.node = node
        self.begin()

    def begin(self) -> None:
        """Start with empty memory."""
        self.lease = Lease(self._lease_seconds)
        self.knows = fleet.NO_EPOCH  # the epoch of the state in memory
        self.noticed = False
        self._writes = 0
        self._uid = f"{self.node.name}.{self.node.life}"
        self._joined_at = self._world.time
        self._world.spawn(self.node, self._keep())
        self._world.spawn(self.node, self._work())

    def now(self) -> float:
        """Return the time on this node's clock."""
        return self._world.clock(self.node)

    @property
    def could_serve(self) -> bool:
        """Whether it would serve a request now, or when it resumes."""
        return self.node.alive and self.lease.holds(self.now())

    def _keep(self) -> Process:
        while True:
            if self.noticed or self.lease.is_due(self.now()):
                noticed, self.noticed = self.noticed, False
                with suppress(Lost):
                    heard = (yield Call("load")).epoch if noticed else fleet.NO_EPOCH
                    yield from self._refresh(heard)
            yield Sleep(POLL_SECONDS)

    def _refresh(self, heard: int) -> Process:
        if self.knows == fleet.NO_EPOCH:
            self.knows = (yield Call("load")).epoch
            self.lease.caught_up(self.knows)
        steps = fleet.renew(self.lease, self.now, heard)
        step: Refresh | CatchUp | None = next(steps)
        while step is not None:
            if isinstance(step, Refresh):
                answer = yield Call("refresh", (self._standing(step.epoch),))
            else:
                yield Sleep(self._world.dice.uniform(0, self._slow_seconds))
                answer = self.knows = step.epoch
            try:
                step = steps.send(answer)
            except StopIteration:
                step = None

    def _standing(self, epoch: int) -> Standing:
        return Standing(
            self._uid, self.node.name, "sim", 0, (), self._lease_seconds, epoch, self._joined_at, self._world.time
        )

    def _work(self) -> Process:
        while True:
            yield Sleep(self._world.dice.expovariate(1.0))
            if self.lease.holds(self.now()):
                self._checks.serve(self.node.name, self.knows, self._lease_seconds, self._world.time)
                with suppress(Lost, RolledBack):
                    yield from self._turn()

    def _turn(self) -> Process:
        """Read, then write with the lineage of what was read, as `kedge.turns.turn` does."""
        dice = self._world.dice
        record = yield Call("load")
        base = assignment.assign(record, self.node.name)
        mine = {number for number in sorted(base) if dice.random() < 1 / 3}  # whose artifacts it uses
        view = View(record.epoch, record.seen_by(base), record.settled)
        for _ in range(dice.randint(1, 3)):
            if not self.lease.holds(self.now()):
                return
            key = f"k{dice.randrange(KEYS)}"
            if dice.random() < 1 / 2:
                view, found = yield from self._call(view, base, mine, "head", key)
                if isinstance(found, Write):
                    mine |= found.lineage
            else:
                self._writes += 1
                name = f"{self._uid}:{self._writes}"
                self._checks.true_lineage[name] = frozenset(mine)
                view, seq = yield from self._write(view, base, mine, key, name)
                self._checks.acknowledged[name] = (seq, frozenset(mine))

    def _write(self, view: View, base: Lineage, mine: set[int], key: str, name: str) -> Process:
        while True:
            try:
                return (yield from self._call(view, base, mine, "append", key, frozenset(mine), self.call_name(name)))
            except Lost:  # retry with the same key: it runs once
                continue

    def call_name(self, name: str) -> str:
        """Return the idempotency key of a call, the same at each try."""
        return name

    def _call(self, view: View, base: Lineage, mine: set[int], method: str, *arguments: object) -> Process:
        while True:
            try:
                return view, (yield Call(method, (view, *arguments)))
            except EpochMoved:
                record = yield Call("load")
                view = turns.move(view, base, frozenset(mine), record, lambda numbers: frozenset(map(str, numbers)))


class ControllerNode:
    """A controller: rolls back and reinstates, and finishes interrupted operations of others."""

    def __init__(self, world: World, checks: Checks, node: Node, members: list[MemberNode], drift: float) -> None:
        self._world, self._checks, self._members, self._drift = world, checks, members, drift
        self.node = node
        self._operations = 0
        self.resting = False
        self.begin()

    def begin(self) -> None:
        """Start."""
        self._world.spawn(self.node, self._live())

    def _live(self) -> Process:
        dice = self._world.dice
        while True:
            yield Sleep(dice.uniform(1.0, 6.0))
            try:
                for flip in (yield Call("unfinished")):
                    yield from self._complete(flip)
                if not self.resting:
                    yield from self._change()
            except (Lost, EpochMoved):
                pass  # the next check finishes it

    def _change(self) -> Process:
        record = yield Call("load")
        deployment = self._world.dice.choice(record.deployments)
        self._operations += 1
        operation = f"{self.node.name}.{self.node.life}.{self._operations}"
        now = self._world.time
        if deployment.number in record.rolled_back:
            yield from self._commit(
                transitions.reinstate(record, deployment.name, now=now, by="sim"), operation, "reinstate"
            )
            return
        after = transitions.roll_back(record, deployment.name, now=now, by="sim")
        flip = yield from self._commit(entries.hold(after, ["support"], operation), operation, "rollback")
        yield from self._complete(flip)

    def _commit(self, record: rules.ControlRecord, operation: str, kind: str) -> Process:
        """Commit; repeat the same operation if the answer is lost."""
        for _ in range(3):
            try:
                return (yield Call("commit", (record, operation, kind)))
            except Lost:
                continue
        raise Lost(operation)

    def _complete(self, flip: Flip) -> Process:
        operation = flip.operation
        if not (yield Call("has_step", (operation, "converged"))):
            yield from self._converge(flip)
            yield Call("step", (operation, "converged"))
        while True:
            record = yield Call("load")
            if not (held := entries.of_operations(record, (operation,))):
                break
            try:
                after = entries.without(transitions.next_epoch(record), held)
                yield from self._commit(after, f"{operation}:release", "release-held")
            except EpochMoved:
                continue
        yield Call("step", (operation, "resumed"))

    def _converge(self, flip: Flip) -> Process:
        steps = fleet.converge(flip.epoch, lambda: self._world.clock(self.node), drift=self._drift)
        step: Look | CountOut | Pause = next(steps)
        found: list[Standing] = []
        while True:
            if isinstance(step, Look):
                found = yield Call("members", (step.behind,))
            elif isinstance(step, CountOut):
                yield Call("count_out", (step.uids, step.epoch))
            else:
                yield Sleep(max(step.seconds, POLL_SECONDS))
            try:
                step = steps.send(found)
            except StopIteration:
                self._world.tell(self.node.name, "converged", flip.epoch)
                self._checks.converge(flip.operation, flip.epoch, self._members, self._world.time)
                return
