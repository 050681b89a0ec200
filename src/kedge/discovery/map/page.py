"""HTML page of a context boundary map: one file, without scripts and without anything from elsewhere."""

from __future__ import annotations

from html import escape

from kedge.discovery.map import tables
from kedge.discovery.map.drawing import drawing, highlights
from kedge.discovery.map.layout import narrow, wide
from kedge.discovery.map.model import Blast, ContextMap
from kedge.discovery.map.words import MODULE, choice, crossings, names_of, summary

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --paper: #fff; --line: #d5dbe3; --soft: #f3f5f8; --faint: #5b6675;
  --agent: #e3edfc; --agent-ink: #1f4f9c; --store: #fdf0d5; --store-ink: #8a5a00; --system: #eceff3;
  --system-ink: #4a5462; --deployment: #dff3e4; --deployment-ink: #1d6b3c;
  --read: #2f6fc4; --write: #c4521a; --use: #78828f; --call: #7a4fc0; --run: #2b8a52; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --paper: #14181f; --line: #343c48; --soft: #1d232c;
  --faint: #a3adba; --agent: #1b2d49; --agent-ink: #9cc2ff; --store: #3a2c10; --store-ink: #f0c36a; --system: #262d37;
  --system-ink: #b9c3d0; --deployment: #17331f; --deployment-ink: #86d9a3;
  --read: #7fb0f0; --write: #f0925c; --use: #929caa; --call: #b99bf0; --run: #6fce97; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 78rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; }
p { margin: .3rem 0; overflow-wrap: anywhere; } .lead, .small { color: var(--faint); } .small { font-size: .88rem; }
a { color: inherit; } a:focus-visible { outline: 3px solid var(--read); outline-offset: 2px; }
ul, ol { padding-left: 1.3rem; margin: .3rem 0; } li { margin: .3rem 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .45rem .8rem .45rem 0; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
thead th { color: var(--faint); font-weight: 500; white-space: nowrap; } tbody th { font-weight: 600; }
td.verb { white-space: nowrap; font-weight: 600; } code { font-size: .88em; overflow-wrap: anywhere; }
tr:target, li:target { background: var(--soft); outline: 2px solid var(--read); }
.maybe { color: var(--faint); }
.badge { display: inline-block; border: 1px solid var(--line); border-radius: 1rem; padding: 0 .5rem; font-size: .8rem;
  white-space: nowrap; background: var(--soft); }
.panel { border: 1px solid var(--line); border-radius: .6rem; background: var(--soft); padding: .9rem 1.1rem;
  margin-top: 1.2rem; } .panel h2 { margin-top: 0; }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); gap: 0 2.5rem; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.3rem; font-size: .88rem; margin: .4rem 0 .8rem; padding: 0;
  list-style: none; } .legend li { margin: 0; display: flex; align-items: center; gap: .4rem; }
.legend i { width: 1.9rem; height: 0; border-top: 3px solid; } .legend i.dash { border-top-style: dashed; }
svg { display: block; width: 100%; height: auto; } svg.narrow { display: none; }
svg text { font: 13px system-ui, sans-serif; fill: var(--ink); }
svg .box rect { stroke-width: 1.4; } svg a { text-decoration: none; }
svg a:focus-visible { outline: none; } svg a:focus-visible rect { stroke-width: 4; }
.agent rect { fill: var(--agent); stroke: var(--agent-ink); }
.store rect { fill: var(--store); stroke: var(--store-ink); }
.system rect { fill: var(--system); stroke: var(--system-ink); }
.deployment rect { fill: var(--deployment); stroke: var(--deployment-ink); }
svg .box.module rect { stroke-dasharray: 4 3; }
svg .steps { font-size: 11px; font-weight: 700; fill: var(--paper); } svg .disc { fill: var(--write); }
svg path.line { fill: none; stroke-width: 2; opacity: .85; } svg path.code { stroke-dasharray: 6 5; }
svg path.head { stroke: none; }
.read { stroke: var(--read); color: var(--read); fill: var(--read); }
.write { stroke: var(--write); color: var(--write); fill: var(--write); }
.use { stroke: var(--use); color: var(--use); fill: var(--use); }
.call { stroke: var(--call); color: var(--call); fill: var(--call); }
.run { stroke: var(--run); color: var(--run); fill: var(--run); }
svg .box.out { opacity: .3; } svg path.line.out { opacity: .15; } svg .box.did rect { stroke-width: 4; }
@media (max-width: 760px) {
  svg.wide { display: none; } svg.narrow { display: block; } thead { display: none; }
  table, tbody, tr, td, tbody th { display: block; } tr { padding: .6rem 0; border-bottom: 1px solid var(--line); }
  td, tbody th { border: 0; padding: .05rem 0; } td.verb::after { content: ":"; } td:empty { display: none; } }
@media print { svg.narrow { display: none; } body { max-width: none; } }
"""


def page(found: ContextMap) -> str:
    """Return the map as one HTML document."""
    of = f" and blast radius of {found.blast.deployment}" if found.blast else ""
    title = escape(f"Context boundary map{of}")
    return "".join([
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
        f"<title>{title}</title>\n<style>{_STYLE}{highlights(found.nodes)}</style>\n</head>\n<body>\n",
        f'<header><h1>{title}</h1>\n<p class="lead">{escape(summary(found))}.</p></header>\n<main>\n',
        _blast(found.blast, names_of(found)) if found.blast else "",
        "<h2>The map</h2>\n" + _picture(found),
        "<h2>Where context crosses from one agent to another</h2>\n" + _boundaries(found),
        "<h2>Who does what</h2>\n" + tables.edges(found),
        "<h2>Nodes</h2>\n" + tables.nodes(found),
        _choices(found),
        "<h2>What this rests on</h2>\n" + tables.coverage(found),
        "</main>\n</body>\n</html>\n",
    ])  # fmt: skip


def _blast(blast: Blast, names: dict[str, str]) -> str:
    by_steps: dict[int, list[str]] = {}
    for step in blast.can:
        by_steps.setdefault(step.steps, []).append(names[step.node])
    can = "".join(
        f"<li><b>{steps} {'step' if steps == 1 else 'steps'}</b>: {escape(', '.join(there))}</li>\n"
        for steps, there in sorted(by_steps.items())
    )
    if blast.did is None:
        did = "<p>Not known: no database of Kedge that knows it was given.</p>\n"
    else:
        reached = "".join(
            f"<li>{escape(each.store.partition(':')[2])}: {each.writes:,} written</li>\n" for each in blast.did
        )
        agents = escape(", ".join(blast.agents)) or "none"
        did = f"<p>Agents that it influenced: {agents}</p>\n<ul>\n{reached}</ul>\n" if reached else "<p>Nothing.</p>\n"
    return (
        f'<section class="panel"><h2>Blast radius of {escape(blast.deployment)}</h2>\n<div class="sides">\n'
        f"<div><p><b>What it can reach</b></p>\n<ul>\n{can}</ul></div>\n"
        f"<div><p><b>What it did reach, by Kedge's journal</b></p>\n{did}</div>\n</div></section>\n"
    )


def _picture(found: ContextMap) -> str:
    if not found.nodes:
        return "<p>Nothing was found.</p>\n"
    used = {edge.relation for edge in found.edges}
    verbs = (("write", "writes"), ("read", "reads"), ("use", "opens"), ("call", "calls"), ("run", "runs"))
    legend = "".join(f'<li><i class="{each}"></i>{verb}</li>' for each, verb in verbs if each in used)
    if any(edge.provenance == ("static",) for edge in found.edges):
        legend += '<li><i class="use dash"></i>only in the code</li>'
    if any(node.by == MODULE for node in found.nodes):
        legend += "<li>a dashed border: a module, as the code tells no agent</li>"
    if found.blast is not None:
        legend += "<li>a number: steps from the deployment</li>"
        if found.blast.did:
            legend += "<li>a thick border: it did write there</li>"
    return (
        f'<ul class="legend" aria-label="Legend">{legend}</ul>\n'
        + drawing(found, wide(found.nodes, found.edges), "wide")
        + drawing(found, narrow(found.nodes, found.edges), "narrow")
        + '<p class="small">An arrow points to where context goes. A box leads to its line in the list of nodes.</p>\n'
    )


def _boundaries(found: ContextMap) -> str:
    if not found.boundaries:
        return "<p>None found.</p>\n"
    names = names_of(found)
    rows = "".join(
        f"<li{'' if each.certain else ' class=maybe'}>{escape(each.text)} "
        f'<span class="badge">{each.kind}</span> <span class="badge">{", ".join(each.provenance)}</span></li>\n'
        for each in crossings(found)
    )
    longest = ""
    if found.chain:
        way = " → ".join(names[node] for node in found.chain)
        longest = f"<p>Longest way of context, {len(found.chain) - 1} steps: {escape(way)}</p>\n"
    return f"<ul>\n{rows}</ul>\n{longest}"


def _choices(found: ContextMap) -> str:
    parts = ""
    if found.unresolved:
        rows = "".join(f"<li>{escape(choice(each))}</li>\n" for each in found.unresolved)
        parts += f"<h2>Decided at run time</h2>\n<ul>\n{rows}</ul>\n"
    if found.unselected:
        rows = "".join(f"<li>{escape(each)}</li>\n" for each in found.unselected)
        parts += f"<h2>Ruled out by the environment given</h2>\n<ul>\n{rows}</ul>\n"
    return parts
