"""Tables of the HTML page: edges, nodes, and what the map rests on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from html import escape

from kedge.discovery.map.model import ContextMap, Node
from kedge.discovery.map.words import VERBS, amounts, choice, known_by, names_of, relation
from kedge.discovery.traces import BlindSpot

_KINDS = {"agent": "agent", "store": "store", "system": "other system", "deployment": "deployment"}


def anchor(found: ContextMap) -> dict[str, str]:
    """Return an id of HTML for every node, by its id."""
    return {node.id: f"node-{number}" for number, node in enumerate(found.nodes)}


def edges(found: ContextMap) -> str:
    """Return the table of all edges: what the drawing shows, in words."""
    names = names_of(found)
    rows = [
        (
            "",
            f"{escape(names[edge.source])}",
            relation(edge),
            f"{escape(names[edge.target])}{_small('; '.join(map(choice, edge.choices)))}",
            known_by(edge),
            amounts(edge),
            _places(edge.places),
        )
        for edge in found.edges
    ]
    return _table(("from", "", "to", "known as", "counted", "place"), rows, "Edges of the map")


def nodes(found: ContextMap) -> str:
    """Return the table of all nodes."""
    names, anchors = names_of(found), anchor(found)
    rows = [
        (anchors[node.id], escape(names[node.id]), _KINDS[node.kind], escape(_about(node)), _places(node.places))
        for node in found.nodes
    ]
    return _table(("node", "kind", "where", "place"), rows, "Nodes of the map")


def coverage(found: ContextMap) -> str:
    """Return what the map rests on, and what its traces cannot show."""
    rests = found.coverage
    lines = [
        "Code: not scanned." if rests.sites is None else f"Code: {rests.sites:,} places.",
        "Traces: none." if rests.spans is None else f"Traces: {rests.spans:,} spans{_window(rests.window)}.",
        "Kedge's journal: no database."
        if rests.turns is None
        else f"Kedge's journal: {'' if rests.all_turns else 'the newest '}{rests.turns:,} turns.",
    ]
    if rests.unparsed:
        lines.append(f"Files that were not read: {', '.join(rests.unparsed)}.")
    if rests.bad_parts:
        lines.append(f"Parts of traces that could not be read: {rests.bad_parts:,}.")
    items = "".join(f"<li>{escape(line)}</li>\n" for line in lines)
    return f"<ul>\n{items}</ul>\n{_blind(found.blind)}"


def _blind(spots: Iterable[BlindSpot]) -> str:
    rows = "".join(
        f"<li>{escape(each.scope.rpartition('.')[2] + ': ' if each.scope else '')}{escape(each.what)}</li>\n"
        for each in spots
    )
    if not rows:
        return ""
    return f"<h2>Not observable</h2>\n<p>That this is not in the map says nothing about it.</p>\n<ul>\n{rows}</ul>\n"


def _window(window: tuple[float, float] | None) -> str:
    if window is None:
        return ""
    first, last = (dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M:%S") for at in window)
    return f" from {first} to {last} UTC"


def _about(node: Node) -> str:
    where = "the code names no agent: the module stands for it" if node.by == "module" else ""
    return ", ".join(part for part in (*node.states, where) if part)


def _places(places: Iterable[str]) -> str:
    return "<br>".join(f"<code>{escape(place)}</code>" for place in places)


def _small(text: str) -> str:
    return f' <span class="small">{escape(text)}</span>' if text else ""


def _table(columns: Sequence[str], rows: Sequence[tuple[str, ...]], caption: str) -> str:
    """Return a table of rows (id, cells …) of HTML; a column without any content is left out."""
    shown = [place for place, _ in enumerate(columns) if any(row[place + 1] for row in rows)]
    heads = "".join(f'<th scope="col">{columns[place]}</th>' for place in shown)
    body = "".join(
        f"<tr{f' id={row[0]}' if row[0] else ''}>{''.join(_cell(place, row[place + 1]) for place in shown)}</tr>\n"
        for row in rows
    )
    head = f'<table aria-label="{escape(caption)}"><thead><tr>{heads}</tr></thead>'
    return f'<div class="scroll">{head}\n<tbody>\n{body}</tbody></table></div>\n'


def _cell(place: int, content: str) -> str:
    if place == 0:
        return f'<th scope="row">{content}</th>'
    return f'<td class="verb">{content}</td>' if content in VERBS else f"<td>{content}</td>"
