"""Ways of context over a map: what a node can reach, in how many steps, and the longest shortest way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from kedge.discovery.map.model import Edge, Node, Step

Ways = Mapping[str, tuple[str, ...]]
"""The nodes that context goes to from each node, in one step."""

NODES_MAX = 1_000
"""The longest way is looked for among that many nodes; its cost grows with the square of their number."""


def ways_of(nodes: Iterable[Node], edges: Iterable[Edge], same: Mapping[str, tuple[str, ...]]) -> Ways:
    """Return where context goes: from a writer to the store, from a store to its readers, from a caller to the called.

    An agent that uses a store may do both. `same`: stores that may be one, as their names are not known.
    """
    kinds = {node.id: node.kind for node in nodes}
    ways: dict[str, set[str]] = {node: set() for node in kinds}
    for edge in edges:
        if kinds.get(edge.target) == "system":
            continue
        if edge.relation != "read":
            ways[edge.source].add(edge.target)
        if edge.relation in {"read", "use"}:
            ways[edge.target].add(edge.source)
    for store, others in same.items():
        for other in others:
            ways[store] |= {each for each in ways[other] if kinds[each] == "agent"}
    return {node: tuple(sorted(after)) for node, after in ways.items()}


def reach(ways: Ways, start: str) -> tuple[Step, ...]:
    """Return every node that can be reached, with the fewest steps."""
    steps = {start: Step(0, start, "")}
    queue = deque([start])
    while queue:
        here = queue.popleft()
        for node in ways.get(here, ()):
            if node not in steps:
                steps[node] = Step(steps[here].steps + 1, node, here)
                queue.append(node)
    return tuple(sorted(step for step in steps.values() if step.steps))


def longest_chain(ways: Ways, starts: Iterable[str]) -> tuple[str, ...]:
    """Return the longest of all shortest ways that begin at these nodes; of equal ones the first by name."""
    best: tuple[str, ...] = ()
    for start in sorted(starts)[:NODES_MAX]:
        steps = {step.node: step for step in reach(ways, start)}
        if not steps:
            continue
        last = min(steps.values(), key=lambda step: (-step.steps, step.node))
        if last.steps + 1 > len(best):
            chain = [last.node]
            while chain[-1] != start:
                chain.append(steps[chain[-1]].after)
            best = tuple(reversed(chain))
    return best
