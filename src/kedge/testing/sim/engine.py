"""Simulation engine: virtual time, drifting clocks, and a network that loses, repeats, delays and reorders messages."""

import heapq
import random
from collections.abc import Callable, Generator
from typing import Any

import msgspec

from kedge.errors import KedgeError

TIMEOUT_SECONDS = 1.0


class Sleep(msgspec.Struct, frozen=True):
    """Sleep for so many seconds of the node's clock."""

    seconds: float


class Call(msgspec.Struct, frozen=True):
    """Call a method of the store over the network."""

    method: str
    arguments: tuple[Any, ...] = ()


class Lost(KedgeError):
    """No answer arrived in time. The call may have run, may run later, or never."""


Process = Generator[Sleep | Call, Any, Any]


class Network(msgspec.Struct):
    """Faults of the network; probabilities are for each message."""

    drop: float = 0.0
    double: float = 0.0
    late: float = 0.0
    delay_seconds: float = 0.02
    late_seconds: float = 6.0


class Node:
    """A process with its own clock. It can be paused, disconnected and killed."""

    def __init__(self, name: str, offset: float, rate: float) -> None:
        self.name = name
        self.offset = offset
        self.rate = rate
        self.life = 0  # incremented by a kill: pending steps of a former life never run
        self.alive = True
        self.paused_until = 0.0
        self.cut_until = 0.0


class World:
    """All events, in the order of one virtual time."""

    def __init__(self, seed: int, store: Any) -> None:
        self.dice = random.Random(seed)  # noqa: S311 - to replay a failure
        self.time = 0.0
        self.network = Network()
        self.store = store
        self.trace: list[tuple[Any, ...]] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def tell(self, *what: Any) -> None:
        """Add to the trace."""
        self.trace.append((round(self.time, 6), *what))

    def at(self, time: float, do: Callable[[], None]) -> None:
        """Schedule an action at a time."""
        self._count += 1
        heapq.heappush(self._events, (time, self._count, do))

    def run(self, until: float) -> None:
        """Run all events up to a time."""
        while self._events and self._events[0][0] <= until:
            self.time, _, do = heapq.heappop(self._events)
            do()
        self.time = until

    def clock(self, node: Node) -> float:
        """Return the time of a node's clock, which also runs during pauses."""
        return node.offset + node.rate * self.time

    def spawn(self, node: Node, process: Process) -> None:
        """Start a process on a node."""
        self._go_on(node, node.life, process, None)

    def _go_on(self, node: Node, life: int, process: Process, answer: Any) -> None:
        if node.life != life or not node.alive:
            return
        if node.paused_until > self.time:
            self.at(node.paused_until, lambda: self._go_on(node, life, process, answer))
            return
        try:
            wish = process.throw(answer) if isinstance(answer, KedgeError) else process.send(answer)
        except StopIteration:
            return
        if isinstance(wish, Sleep):
            self.at(self.time + wish.seconds / node.rate, lambda: self._go_on(node, life, process, None))
        else:
            self._call(node, life, process, wish)

    def _call(self, node: Node, life: int, process: Process, call: Call) -> None:
        answered = False

        def answer(value: Any) -> None:
            nonlocal answered
            if not answered:
                answered = True
                self._go_on(node, life, process, value)

        def arrive() -> None:
            value = self._do(node, call)
            self._send(node, lambda: answer(value))

        self._send(node, arrive)
        self.at(self.time + TIMEOUT_SECONDS / node.rate, lambda: answer(Lost(call.method)))

    def _do(self, node: Node, call: Call) -> Any:
        try:
            value = getattr(self.store, call.method)(*call.arguments)
        except KedgeError as error:
            value = error
        self.tell(node.name, call.method, _brief(value))
        return value

    def _send(self, node: Node, arrive: Callable[[], None]) -> None:
        network, dice = self.network, self.dice
        copies = 2 if dice.random() < network.double else 1
        for _ in range(copies):
            delay = dice.expovariate(1 / network.delay_seconds)
            if dice.random() < network.late:
                delay = dice.uniform(0, network.late_seconds)
            if dice.random() >= network.drop and node.cut_until <= self.time:
                self.at(self.time + delay, arrive)

    def notify(self, nodes: list[Node], hear: Callable[[Node], None]) -> None:
        """Send a notice to nodes; like every message, it may be lost."""
        for node in nodes:
            self._send(node, lambda node=node: hear(node))  # type: ignore[misc]


def _brief(value: Any) -> Any:
    if isinstance(value, KedgeError):
        return type(value).__name__
    return value if isinstance(value, int | str | bool | None) else type(value).__name__
