"""Layout of a context boundary map: boxes in columns and lines between them, for wide and for narrow pages.

Wide: deployments and systems, agents, stores in three columns; within a column, neighbours are brought level with each
other (barycentres, a fixed number of sweeps). Narrow: one column, with lines beside it. All from the map alone, so that
equal maps give equal drawings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from kedge.discovery.map.model import Edge, Node, NodeKind

_COLUMN: Mapping[NodeKind, int] = {"deployment": 0, "system": 0, "agent": 1, "store": 2}
_STACKED: tuple[NodeKind, ...] = ("deployment", "agent", "store", "system")
_SWEEPS = 6
_HEIGHT = 34
_GAP = 14
_MARGIN = 8


class Box(msgspec.Struct, frozen=True):
    """A node in the drawing: its left upper corner and its size."""

    node: Node
    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """Vertical middle."""
        return self.y + self.height / 2


class Line(msgspec.Struct, frozen=True):
    """All edges between two nodes as one line. `path`: SVG path data, from `source` to `target`."""

    source: str
    target: str
    path: str
    edges: tuple[Edge, ...]


class Drawing(msgspec.Struct, frozen=True):
    """Boxes and lines in a picture of this size."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]


def wide(nodes: Sequence[Node], edges: Sequence[Edge], width: float = 1180) -> Drawing:
    """Lay a map out in columns; a column without nodes takes no room."""
    columns = [[node for node in nodes if _COLUMN[node.kind] == place] for place in range(3)]
    columns = _ordered([column for column in columns if column], edges)
    tallest = max((len(column) for column in columns), default=0)
    height = tallest * (_HEIGHT + _GAP) - _GAP + 2 * _MARGIN if tallest else 2 * _MARGIN
    box_width = min(380.0, (width - 2 * _MARGIN) / (1.6 * len(columns) - 0.6)) if columns else 0
    step = (width - 2 * _MARGIN - box_width) / (len(columns) - 1) if len(columns) > 1 else 0
    boxes = [
        Box(node, _MARGIN + place * step, top + row * (_HEIGHT + _GAP), box_width, _HEIGHT)
        for place, column in enumerate(columns)
        for top in [(height - len(column) * (_HEIGHT + _GAP) + _GAP) / 2]
        for row, node in enumerate(column)
    ]
    return Drawing(width, height, tuple(boxes), _lines(boxes, edges, bulge=-1))


def narrow(nodes: Sequence[Node], edges: Sequence[Edge], width: float = 358) -> Drawing:
    """Lay a map out in one column, with the lines at its right side."""
    stacked = [node for kind in _STACKED for node in nodes if node.kind == kind]
    boxes, y = [], float(_MARGIN)
    for place, node in enumerate(stacked):
        if place and node.kind != stacked[place - 1].kind:
            y += _GAP
        boxes.append(Box(node, _MARGIN, y, width * 0.66, _HEIGHT))
        y += _HEIGHT + _GAP / 2
    return Drawing(width, y + _MARGIN, tuple(boxes), _lines(boxes, edges, bulge=1))


def _ordered(columns: list[list[Node]], edges: Sequence[Edge]) -> list[list[Node]]:
    """Order each column by the mean place of its neighbours in the other columns."""
    by_id = {node.id: node for column in columns for node in column}
    neighbours: dict[str, set[str]] = {}
    for edge in edges:
        neighbours.setdefault(edge.source, set()).add(edge.target)
        neighbours.setdefault(edge.target, set()).add(edge.source)
    for sweep in range(_SWEEPS):
        order = range(len(columns)) if sweep % 2 == 0 else range(len(columns) - 1, -1, -1)
        for place in order:
            level = {
                node.id: (row + 0.5) / len(column)
                for other, column in enumerate(columns)
                if other != place
                for row, node in enumerate(column)
            }
            own = {node.id: (row + 0.5) / len(columns[place]) for row, node in enumerate(columns[place])}
            means = {node: _mean(neighbours.get(node, ()), level, row) for node, row in own.items()}
            columns[place] = [by_id[node] for node in sorted(means, key=lambda each: (means[each], each))]
    return columns


def _mean(neighbours: set[str] | tuple[()], level: Mapping[str, float], own: float) -> float:
    known = sorted(level[each] for each in neighbours if each in level)
    return sum(known) / len(known) if known else own


def _lines(boxes: Sequence[Box], edges: Sequence[Edge], bulge: int) -> tuple[Line, ...]:
    by_node = {box.node.id: box for box in boxes}
    pairs: dict[tuple[str, str], list[Edge]] = {}
    for edge in edges:
        pairs.setdefault((edge.source, edge.target), []).append(edge)
    return tuple(
        Line(source, target, _path(by_node[source], by_node[target], bulge), tuple(group))
        for (source, target), group in sorted(pairs.items())
    )


def _path(start: Box, end: Box, bulge: int) -> str:
    if start.x == end.x:
        side = start.x + (start.width if bulge > 0 else 0)
        away = side + bulge * min(24 + abs(end.middle - start.middle) * 0.22, 100)
        return _curve((side, start.middle), (away, start.middle), (away, end.middle), (side, end.middle))
    right = end.x > start.x
    first = start.x + start.width if right else start.x
    last = end.x if right else end.x + end.width
    half = (first + last) / 2
    return _curve((first, start.middle), (half, start.middle), (half, end.middle), (last, end.middle))


def _curve(*points: tuple[float, float]) -> str:
    first, *rest = (f"{x:.1f} {y:.1f}" for x, y in points)
    return f"M{first} C{' '.join(rest)}"
