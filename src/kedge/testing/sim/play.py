"""Simulation run of one seed: a phase with faults, a quiet phase, then the final checks."""

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from kedge.model.visibility import View
from kedge.testing.sim.checks import Checks, Made, Violation
from kedge.testing.sim.engine import Network, Node, World
from kedge.testing.sim.nodes import ControllerNode, MemberNode
from kedge.testing.sim.store import Flip, SimStore, Write

MEMBERS, CONTROLLERS, DEPLOYMENTS = 3, 2, 3
DRIFT = 0.2  # far above the real limit: this tests the formula, not the number
FAULTY_SECONDS, QUIET_SECONDS = 60.0, 60.0
LEASES_SECONDS = (2.0, 5.0, 12.0)
SLOW_SECONDS = (0.0, 0.0, 0.5, 0.5, 4.0, 1e6)  # the longest time that catching up takes; some members never catch up
FAULTS_SECONDS = (4.0, 12.0, 60.0)  # mean time between two faults of a node


class Outcome(msgspec.Struct, frozen=True):
    """The result of a run: the violation, if any, and a digest of the trace."""

    seed: int
    violation: str | None
    digest: str
    flips: int
    served: int
    seen: int
    trace: tuple[tuple[Any, ...], ...]


class Parts(msgspec.Struct, frozen=True):
    """The parts of a run. A mutation test replaces them, or functions of `kedge.model.fleet`."""

    store: Callable[[int], SimStore] = SimStore
    world: Callable[[int, SimStore], World] = World
    member: Callable[..., MemberNode] = MemberNode


def play(seed: int, parts: Parts | None = None) -> Outcome:
    """Run one seed."""
    parts = parts or Parts()
    store = parts.store(DEPLOYMENTS)
    world = parts.world(seed, store)
    checks = Checks(DRIFT)
    violation = None
    try:
        _play(world, store, checks, parts)
    except Violation as found:
        violation = str(found)
        world.tell("VIOLATION", violation)
    digest = hashlib.sha256(repr(world.trace).encode()).hexdigest()
    return Outcome(seed, violation, digest, len(checks.flips), checks.served, checks.seen, tuple(world.trace))


def _play(world: World, store: SimStore, checks: Checks, parts: Parts) -> None:
    dice = world.dice
    world.network = Network(
        drop=dice.choice((0.0, 0.02, 0.2)), double=dice.choice((0.0, 0.05)), late=dice.choice((0.0, 0.02, 0.1))
    )
    lease_seconds = dice.choice(LEASES_SECONDS)
    members = [
        parts.member(world, checks, _node(world, f"m{n}"), lease_seconds, dice.choice(SLOW_SECONDS))
        for n in range(MEMBERS)
    ]
    controllers = [ControllerNode(world, checks, _node(world, f"c{n}"), members, DRIFT) for n in range(CONTROLLERS)]
    _watch_flips(world, store, checks, members)
    between = dice.choice(FAULTS_SECONDS)
    nodes: list[MemberNode | ControllerNode] = [*members, *controllers]
    for each in nodes:
        _plan_faults(world, each, between)
    world.run(FAULTY_SECONDS)
    world.network = Network()
    for each in nodes:
        each.node.cut_until = each.node.paused_until = world.time
        if isinstance(each, ControllerNode):
            each.resting = True
        if not each.node.alive:
            _revive(each)
    world.run(FAULTY_SECONDS + QUIET_SECONDS)
    checks.finish(store)


def _node(world: World, name: str) -> Node:
    rate = world.dice.choice((1 - DRIFT, 1 - DRIFT, 1.0, 1 + DRIFT, 1 + DRIFT))
    return Node(name, world.dice.uniform(0, 1e6), rate)


def _watch_flips(world: World, store: SimStore, checks: Checks, members: list[MemberNode]) -> None:
    """Record each flip, send its notice, check each read, and check again when leases must have expired."""

    def look(epoch: int) -> None:
        for member in members:
            if member.could_serve and member.knows < epoch:
                checks.serve(member.node.name, member.knows, member.lease.seconds, world.time)

    def flipped(flip: Flip) -> None:
        checks.flips.append(Made(flip.operation, flip.epoch, world.time))
        by_node = {member.node.name: member for member in members}
        world.notify([m.node for m in members], lambda node: setattr(by_node[node.name], "noticed", True))
        for seconds in {member.lease.seconds for member in members}:
            world.at(world.time + seconds / (1 - DRIFT) + 1e-3, lambda: look(flip.epoch))

    store.on_flip = flipped
    head = store.head

    def shown(view: View, key: str) -> Write | None:
        found = head(view, key)
        if found is not None:
            checks.see("a reader", found.idempotency, store.record.rolled_back)
        return found

    store.head = shown  # type: ignore[method-assign]


def _plan_faults(world: World, each: MemberNode | ControllerNode, between_seconds: float) -> None:
    dice, node = world.dice, each.node
    time = dice.expovariate(1 / between_seconds)
    while time < FAULTY_SECONDS:
        kind, length = dice.choice(("pause", "cut", "kill")), dice.choice((0.5, 3.0, 12.0)) * dice.random()
        world.at(time, lambda kind=kind, length=length: _fault(world, each, kind, length))  # type: ignore[misc]
        time += dice.expovariate(1 / between_seconds)
    world.tell(node.name, "rate", node.rate)


def _fault(world: World, each: MemberNode | ControllerNode, kind: str, length: float) -> None:
    node = each.node
    if not node.alive:
        return
    world.tell(node.name, kind, round(length, 3))
    if kind == "pause":
        node.paused_until = max(node.paused_until, world.time + length)
    elif kind == "cut":
        node.cut_until = max(node.cut_until, world.time + length)
    else:
        node.alive = False
        world.at(world.time + length, lambda: _revive(each))


def _revive(each: MemberNode | ControllerNode) -> None:
    if not each.node.alive:
        each.node.alive = True
        each.node.life += 1
        each.begin()
