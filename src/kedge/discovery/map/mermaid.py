"""Mermaid flowchart of a context boundary map."""

from __future__ import annotations

from kedge.discovery.map.model import ContextMap, Edge, NodeKind
from kedge.discovery.map.words import label, relation

_SHAPES: dict[NodeKind, tuple[str, str]] = {
    "agent": ("([", "])"),
    "store": ("[(", ")]"),
    "system": ("[[", "]]"),
    "deployment": ("{{", "}}"),
}
_SAFE = frozenset(" -_.,:/@*()[]=+")


def mermaid(found: ContextMap) -> str:
    """Return the map as a flowchart: solid lines were seen to happen, dotted ones are only in the code."""
    ids = {node.id: f"n{number}" for number, node in enumerate(found.nodes)}
    lines = ["flowchart LR"]
    for node in found.nodes:
        left, right = _SHAPES[node.kind]
        lines.append(f'    {ids[node.id]}{left}"{escaped(label(node))}"{right}:::{node.kind}')
    grouped: dict[tuple[str, str, bool], list[Edge]] = {}
    for edge in found.edges:
        grouped.setdefault((edge.source, edge.target, edge.relation == "read"), []).append(edge)
    for (source, target, backwards), edges in grouped.items():
        text = escaped("read by" if backwards else ", ".join(dict.fromkeys(map(relation, edges))))
        line = "-->" if any(set(edge.provenance) - {"static"} for edge in edges) else "-.->"
        first, last = (target, source) if backwards else (source, target)  # an arrow points to where context goes
        lines.append(f'    {ids[first]} {line}|"{text}"| {ids[last]}')
    lines += [
        "    classDef agent fill:#dbeafe,stroke:#1d4ed8,color:#0b1220",
        "    classDef store fill:#fef3c7,stroke:#b45309,color:#0b1220",
        "    classDef system fill:#e5e7eb,stroke:#4b5563,color:#0b1220",
        "    classDef deployment fill:#dcfce7,stroke:#15803d,color:#0b1220",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Return text for a quoted label: all that Mermaid or HTML could read as syntax is a numeric entity."""
    return "".join(c if c.isalnum() or c in _SAFE else f"#{ord(c)};" for c in text)
