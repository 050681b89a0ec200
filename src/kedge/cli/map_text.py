"""Text of the context boundary map."""

from kedge.cli.terminal import count, heading, say, table, utc
from kedge.discovery.map import Blast, ContextMap, Coverage, Edge
from kedge.discovery.map.words import amounts, boundary, choice, known_by, names_of, relation, summary
from kedge.model.durations import duration

_COLUMNS = ("from", "", "to", "known as", "counted", "place")
_IMPORTANCE = ("from", "", "to", "known as", "counted", "place")
_STEPS_SHOWN = 40
_BLIND_SHOWN = 6


def print_map(found: ContextMap) -> None:
    """Print the map: edges, boundaries, blast radius, what is open, and what it rests on."""
    names = names_of(found)
    say(f"Context boundary map: {summary(found)}.", "bold")
    say()
    if found.edges:
        table(_COLUMNS, (_row(edge, names) for edge in found.edges), importance=_IMPORTANCE)
    heading("Boundaries: where context crosses from one agent to another")
    for each in found.boundaries:
        say(f"  {boundary(each, names)}", None if each.certain else "dim")
    if not found.boundaries:
        say("  none found")
    if found.chain:
        say(f"  longest way ({count(len(found.chain) - 1, 'step')}): {' → '.join(names[node] for node in found.chain)}")
    if found.blast is not None:
        _print_blast(found.blast, names)
    if found.unresolved:
        heading("Decided at run time (resolve with --env FILE)")
        for open_choice in found.unresolved:
            say(f"  {choice(open_choice)}")
    if found.unselected:
        heading("Ruled out by the environment given")
        for place in found.unselected:
            say(f"  {place}")
    _print_coverage(found)


def _row(edge: Edge, names: dict[str, str]) -> list[str]:
    selected = "".join(f" ({each.selector})" for each in edge.choices)
    place = edge.places[0] if edge.places else ""
    return [names[edge.source], relation(edge), names[edge.target] + selected, known_by(edge), amounts(edge), place]


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
        say(f"  code: {count(coverage.sites, 'site')}{missed}")
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
