"""Text of the context boundary map."""

import itertools
from collections.abc import Iterable, Sequence

from kedge.cli.terminal import count, heading, say, utc
from kedge.discovery.map import Blast, ContextMap, Coverage, Edge
from kedge.discovery.map.words import amounts, choice, condition, crossings, known_by, names_of, relation, summary
from kedge.model.durations import duration

_STEPS_SHOWN = 40
_BLIND_SHOWN = 6


def print_map(found: ContextMap) -> None:
    """Print the map: edges, boundaries, blast radius, what is open, and what it rests on."""
    names = names_of(found)
    say(f"Context boundary map: {summary(found)}.", "bold")
    say()
    _print_edges(found, names)
    _print_boundaries(found, names)
    if found.blast is not None:
        _print_blast(found.blast, names)
    _print_lines("Decided at run time (resolve with --env FILE)", map(choice, found.unresolved))
    _print_lines("Ruled out by the environment given", found.unselected)
    _print_coverage(found)


def _print_edges(found: ContextMap, names: dict[str, str]) -> None:
    for source, edges in itertools.groupby(found.edges, key=lambda edge: edge.source):
        say(names[source], "bold")
        for edge in edges:
            say(f"  {_line(edge, names)}")
    used = {edge.target for edge in found.edges}
    unused = [node for node in found.nodes if node.kind == "store" and node.id not in used]
    _print_lines("Stores that no agent of the map uses", (f"{node.name}{_place(node.places)}" for node in unused))


def _line(edge: Edge, names: dict[str, str]) -> str:
    selected = f", {' or '.join(map(condition, edge.choices))}" if edge.choices else ""
    counted = f": {amounts(edge)}" if edge.calls or edge.records else ""
    return f"{relation(edge):<6} {names[edge.target]}{selected}, {known_by(edge)}{counted}{_place(edge.places)}"


def _place(places: Sequence[str]) -> str:
    more = f" and {len(places) - 1} more" if len(places) > 1 else ""
    return f" ({places[0]}{more})" if places else ""


def _print_boundaries(found: ContextMap, names: dict[str, str]) -> None:
    heading("Boundaries: where context crosses from one agent to another")
    for each in crossings(found):
        say(f"  {each.text}", None if each.certain else "dim")
    if not found.boundaries:
        say("  none found")
    if found.chain:
        say(f"  longest way ({count(len(found.chain) - 1, 'step')}): {' → '.join(names[node] for node in found.chain)}")


def _print_lines(title: str, lines: Iterable[str]) -> None:
    """Print lines below a heading, if there are any."""
    shown = list(lines)
    if shown:
        heading(title)
    for line in shown:
        say(f"  {line}")


def _print_blast(blast: Blast, names: dict[str, str]) -> None:
    heading(f"Blast radius of {blast.deployment}")
    say(f"  It can reach {count(len(blast.can), 'node')}:")
    for step in blast.can[:_STEPS_SHOWN]:
        say(f"    {step.steps}  {names[step.node]}, from {names[step.after]}")
    if len(blast.can) > _STEPS_SHOWN:
        say(f"    and {len(blast.can) - _STEPS_SHOWN:,} more (--json shows all)")
    if blast.did is None:
        say("  What it did reach is not known: no database of Kedge that knows it was given (--db).", "yellow")
        return
    agents = ", ".join(blast.agents) or "none"
    say(f"  It did reach, by Kedge's journal: {count(len(blast.did), 'space')}, agents {agents}")
    for reached in blast.did:
        name = reached.store.partition(":")[2]
        say(f"    {count(reached.writes, 'write')} in {name}")


def _print_coverage(found: ContextMap) -> None:
    coverage: Coverage = found.coverage
    heading("What this rests on")
    if coverage.sites is None:
        say("  code: not scanned (give a folder)")
    else:
        missed = f"; {count(len(coverage.unparsed), 'file')} not read" if coverage.unparsed else ""
        say(f"  code: {count(coverage.sites, 'place')}{missed}")
    if coverage.spans is None:
        say("  traces: none (--traces FILE)")
    else:
        window = ""
        if coverage.window is not None:
            first, last = coverage.window
            window = f", {utc(first)}, {duration(last - first, units=1) if last > first else '0 s'} long"
        bad = f"; {count(coverage.bad_parts, 'part')} could not be read" if coverage.bad_parts else ""
        say(f"  traces: {count(coverage.spans, 'span')}{window}{bad}")
    if coverage.turns is None:
        say("  Kedge's journal: no database (--db URL)")
    else:
        say(f"  Kedge's journal: {'' if coverage.all_turns else 'the newest '}{count(coverage.turns, 'turn')}")
    if found.blind:
        say("  Not observable by these traces, so that its absence says nothing:", "dim")
        for blind in found.blind[:_BLIND_SHOWN]:
            say(f"    {blind.scope.rpartition('.')[2] + ': ' if blind.scope else ''}{blind.what}", "dim")
        if len(found.blind) > _BLIND_SHOWN:
            say(f"    and {len(found.blind) - _BLIND_SHOWN:,} more (kedge traces shows all)", "dim")
