"""SVG of a laid out map: boxes that link to the list of nodes, lines with arrow heads where context goes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from kedge.discovery.map.layout import Box, Drawing, Line
from kedge.discovery.map.model import ContextMap, Edge, Node, Relation
from kedge.discovery.map.tables import anchor
from kedge.discovery.map.words import MODULE, known_by, label, names_of, relation

_CHARACTER = 7.6  # width of a wide one, at 13 px
_PADDING = 12
_DISC = 10
_STRONGEST: tuple[Relation, ...] = ("write", "read", "call", "run", "use")


def drawing(found: ContextMap, laid: Drawing, name: str) -> str:
    """Return the picture. Screen readers and keyboards find its boxes as links; the tables say all that it shows."""
    numbers = {node.id: number for number, node in enumerate(found.nodes)}
    anchors, names = anchor(found), names_of(found)
    steps = {step.node: step.steps for step in found.blast.can} if found.blast else {}
    start = f"deployment:{found.blast.deployment}" if found.blast else ""
    inside = {start, *steps} if found.blast else set(numbers)
    lines = "".join(_line(line, numbers, names, inside, name) for line in laid.lines)
    did = {each.store for each in found.blast.did or ()} if found.blast else set()
    boxes = "".join(
        _box(box, numbers[box.node.id], anchors, steps, _marks(box.node, inside, did)) for box in laid.boxes
    )
    return (
        f'<svg class="{name}" viewBox="0 0 {laid.width:.0f} {laid.height:.0f}" role="group" '
        f'aria-label="Drawing of the map; the tables below say the same">\n{_markers(name)}'
        f'<g aria-hidden="true">\n{lines}</g>\n{boxes}</svg>\n'
    )


def highlights(nodes: Sequence[Node]) -> str:
    """Return the style that fades all lines but those of the box under the pointer or with the focus."""
    return "".join(
        f"svg:has(.b{number}:is(:hover, :focus-within)) path.line:not(.t{number}){{opacity:.12}}\n"
        for number in range(len(nodes))
    )


def _markers(name: str) -> str:
    heads = "".join(
        f'<marker id="{name}-{each}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        f'markerUnits="userSpaceOnUse" orient="auto-start-reverse">'
        f'<path class="head {each}" d="M0 0L8 4L0 8z"/></marker>'
        for each in _STRONGEST
    )
    return f"<defs>{heads}</defs>\n"


def _line(line: Line, numbers: dict[str, int], names: dict[str, str], inside: set[str], name: str) -> str:
    kinds = {edge.relation for edge in line.edges}
    kind = next(each for each in _STRONGEST if each in kinds)
    to_end = f' marker-end="url(#{name}-{kind})"' if kinds - {"read", "use"} else ""
    to_start = f' marker-start="url(#{name}-{kind})"' if "read" in kinds else ""
    only_code = all(edge.provenance == ("static",) for edge in line.edges)
    outside = " out" if not {line.source, line.target} <= inside else ""
    said = "; ".join(_said(edge, names) for edge in line.edges)
    ends = f"t{numbers[line.source]} t{numbers[line.target]}"
    return (
        f'<path class="line {kind}{" code" if only_code else ""}{outside} {ends}" '
        f'style="fill:none" d="{line.path}"{to_start}{to_end}><title>{escape(said)}</title></path>\n'
    )


def _said(edge: Edge, names: dict[str, str]) -> str:
    return f"{names[edge.source]} {relation(edge)} {names[edge.target]} ({known_by(edge)})"


def _marks(node: Node, inside: set[str], did: set[str]) -> str:
    """Return the classes of a box."""
    flags = {"module": node.by == MODULE, "out": node.id not in inside, "did": node.id in did}
    return " ".join(["box", node.kind, *(flag for flag, is_set in flags.items() if is_set)])


def _box(box: Box, number: int, anchors: dict[str, str], steps: dict[str, int], marks: str) -> str:
    node = box.node
    room = box.width - 2 * _PADDING - (2 * _DISC if node.id in steps else 0)
    text = _shortened(node.name, int(room / _CHARACTER))
    away = f", {steps[node.id]} steps away" if node.id in steps else ""
    disc = ""
    if node.id in steps:
        x = box.x + box.width - _PADDING - _DISC / 2
        disc = (
            f'<circle class="disc" cx="{x:.1f}" cy="{box.middle:.1f}" r="{_DISC}"/>'
            f'<text class="steps" x="{x:.1f}" y="{box.middle + 4:.1f}" text-anchor="middle">{steps[node.id]}</text>'
        )
    radius = box.height / 2 if node.kind == "agent" else 4
    said = escape(f"{node.kind} {label(node)}{away}")
    return (
        f'<a class="{marks} b{number}" href="#{anchors[node.id]}" aria-label="{said}">'
        f"<title>{escape(f'{node.kind}: {label(node)}')}</title>"
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="{radius:.0f}"/>'
        f'<text x="{box.x + _PADDING:.1f}" y="{box.middle + 4.5:.1f}">{escape(text)}</text>{disc}</a>\n'
    )


def _shortened(text: str, most: int) -> str:
    """Return a text with its middle left out where it is too long: ends tell names apart."""
    if len(text) <= most:
        return text
    head = max(1, (most - 1) // 3)
    return f"{text[:head]}…{text[-(most - 1 - head) :]}"
