"""Words for the map, the same in every rendering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from kedge.discovery.map.model import Boundary, Choice, ContextMap, Edge, Node, Provenance

_RUNNING = {"read": "reads", "write": "writes", "use": "opens", "call": "calls", "run": "runs"}
VERBS = frozenset(_RUNNING.values())
SERVICE, MODULE = "service", "module"


def relation(edge: Edge) -> str:
    """Return the verb of an edge."""
    return _RUNNING[edge.relation]


def label(node: Node) -> str:
    """Return the name of a node, with a mark where it is no named agent."""
    if node.by == MODULE:
        return f"{node.name} (module)"
    return f"{node.name} (service)" if node.by == SERVICE else node.name


def known_by(edge: Edge) -> str:
    """Return how an edge is known."""
    return ", ".join(edge.provenance)


def amounts(edge: Edge) -> str:
    """Return what was counted of an edge: calls of traces, records of the journal."""
    counted = []
    if edge.calls:
        failed = f", {edge.errors:,} failed" if edge.errors else ""
        counted.append(f"{edge.calls:,} {'call' if edge.calls == 1 else 'calls'}{failed}")
    if edge.records:
        counted.append(f"{edge.records:,} {'record' if edge.records == 1 else 'records'}")
    return "; ".join(counted)


def condition(each: Choice) -> str:
    """Return what must be so that an edge is there."""
    if not each.default:
        return f"if {each.selector}"
    return f"if {each.selector}, the default" if "=" in each.selector else f"by default of {each.selector}"


def choice(each: Choice) -> str:
    """Return a selector with its alternatives."""
    among = f" (one of {', '.join(each.alternatives)})" if each.alternatives else ""
    return f"{condition(each)}{among}"


class Crossing(msgspec.Struct, frozen=True):
    """All certain boundaries of one store, or all possible ones, or one call, as a sentence."""

    text: str
    certain: bool
    kind: str
    provenance: tuple[Provenance, ...]


def crossings(found: ContextMap) -> list[Crossing]:
    """Return the boundaries in words, the certain ones first."""
    names = names_of(found)
    groups: dict[tuple[bool, str, str], list[Boundary]] = {}
    for each in found.boundaries:
        call = "" if each.through else f"{each.source} {each.target}"
        groups.setdefault((not each.certain, each.through, call), []).append(each)
    return [_crossing(group, names) for _, group in sorted(groups.items())]


def _crossing(group: Sequence[Boundary], names: Mapping[str, str]) -> Crossing:
    first = group[0]
    sources = sorted({names[each.source] for each in group})
    targets = sorted({names[each.target] for each in group})
    through = names.get(first.through, "")
    if not through:
        text = f"{sources[0]} {'calls' if first.certain else 'may call'} {targets[0]}"
    elif first.certain:
        write = "writes" if len(sources) == 1 else "write"
        read = "reads" if len(targets) == 1 else "read"
        text = f"{', '.join(sources)} {write} {through}; {', '.join(targets)} {read} it"
    elif sources == targets:
        text = f"may cross through {through} among {', '.join(sources)}"
    else:
        text = f"may cross through {through} from {', '.join(sources)} to {', '.join(targets)}"
    provenance = tuple(dict.fromkeys(each for boundary in group for each in boundary.provenance))
    return Crossing(text, first.certain, first.kind, provenance)


def names_of(found: ContextMap) -> dict[str, str]:
    """Return the label of every node by its id."""
    return {node.id: label(node) for node in found.nodes}


def summary(found: ContextMap) -> str:
    """Return the size of a map in a sentence."""
    kinds: list[str] = [MODULE if node.by == MODULE else node.kind for node in found.nodes]
    counts = [
        f"{number:,} {word if number == 1 else word + 's'}"
        for word in ("agent", MODULE, "store", "system", "deployment")
        if (number := kinds.count(word))
    ]
    certain = sum(each.certain for each in found.boundaries)
    possible = len(found.boundaries) - certain
    may = f", and may cross in {possible:,}" if possible else ""
    places = "place" if certain == 1 else "places"
    return f"{', '.join(counts) or 'nothing'}; context crosses between agents in {certain:,} {places}{may}"
