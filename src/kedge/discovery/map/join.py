"""Join of what code, traces and Kedge's journal say into one map: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from kedge.discovery.map.graphs import Graph
from kedge.discovery.map.journal import Journaled
from kedge.discovery.map.model import (
    Blast,
    Boundary,
    Choice,
    ContextMap,
    Coverage,
    Edge,
    Node,
    NodeKind,
    Provenance,
    Reached,
    Relation,
)
from kedge.discovery.map.reach import longest_chain, reach, ways_of
from kedge.discovery.map.static import Named, StaticScan, StaticSite, agent_of, plain, select
from kedge.discovery.traces import TraceReport, Traffic
from kedge.errors import UnknownName, nearest

PLACES = 8
"""So many places of the code are kept of a node and of an edge."""

_PINNED = ("hf-model", "langsmith-prompt", "langfuse-prompt", "model", "prompt", "dataset", "mlflow-model")
_CACHES = ("cache", "redis", "memcached")
_QUEUES = frozenset({"kafka", "rabbitmq", "aws_sqs", "sqs", "nats", "pulsar", "servicebus", "gcp_pubsub", "celery"})
_SAVER_TABLES = frozenset({"checkpoints", "checkpoint_blobs", "checkpoint_writes", "checkpoint_migrations"})
_SAVER_SQLITE = frozenset({"checkpoints", "writes"})
_STORE_TABLES = frozenset({"store", "store_vectors", "store_migrations"})
_OWN = _SAVER_TABLES | _SAVER_SQLITE | _STORE_TABLES
_ORDER: tuple[Provenance, ...] = ("static", "observed", "journaled")


class _Sum(msgspec.Struct):
    """What is known of an edge so far."""

    provenance: set[Provenance] = msgspec.field(default_factory=set)
    calls: int = 0
    errors: int = 0
    records: int = 0
    places: set[str] = msgspec.field(default_factory=set)
    choices: set[Choice] = msgspec.field(default_factory=set)
    certain: bool = False  # something says that the edge is there, whatever is selected


def _in_order(places: Iterable[str]) -> tuple[str, ...]:
    """Return the first places, by path and line."""
    parts = (place.rpartition(":") for place in places)
    ordered = sorted((path, int(line)) for path, _, line in parts)
    return tuple(f"{path}:{line}" for path, line in ordered[:PLACES])


def _merged(choices: Iterable[Choice]) -> tuple[Choice, ...]:
    """Return choices with one for each selector, which has the alternatives of all."""
    found: dict[tuple[str, bool], set[str]] = {}
    for each in choices:
        found.setdefault((each.selector, each.default), set()).update(each.alternatives)
    return tuple(sorted(Choice(*key, tuple(sorted(among))) for key, among in found.items()))


class _Builder:
    """Nodes and edges, added in any order."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._states: dict[str, set[str]] = {}
        self._places: dict[str, set[str]] = {}
        self._edges: dict[tuple[str, str, Relation], _Sum] = {}

    def node(self, kind: NodeKind, name: str, *, by: str = "", state: str = "", place: str = "") -> str:
        """Add a node, or what is new about it; return its id."""
        ident = f"{kind}:{name}"
        known = self._nodes.get(ident)
        if known is None or (known.by in {"", "module"} and by):
            self._nodes[ident] = Node(ident, kind, name, by)
        self._states.setdefault(ident, set()).update([state] if state and state != "config" else [])
        self._places.setdefault(ident, set()).update([place] if place else [])
        return ident

    def edge(self, source: str, target: str, relation: Relation, provenance: Provenance) -> _Sum:
        """Add an edge; return its sums, to be added to."""
        found = self._edges.setdefault((source, target, relation), _Sum())
        found.provenance.add(provenance)
        return found

    def nodes(self) -> tuple[Node, ...]:
        """Return all nodes, sorted."""
        return tuple(
            sorted(
                msgspec.structs.replace(
                    node,
                    states=tuple(sorted(self._states[ident])),
                    places=_in_order(self._places[ident]),
                )
                for ident, node in self._nodes.items()
            )
        )

    def edges(self) -> tuple[Edge, ...]:
        """Return all edges, sorted."""
        return tuple(
            sorted(
                Edge(
                    *key,
                    provenance=tuple(each for each in _ORDER if each in found.provenance),
                    calls=found.calls,
                    errors=found.errors,
                    records=found.records,
                    places=_in_order(found.places),
                    choices=() if found.certain else _merged(found.choices),
                )
                for key, found in self._edges.items()
            )
        )


def join(
    scan: StaticScan | None = None,
    traces: TraceReport | None = None,
    journal: Journaled | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    graph: Graph | None = None,
    deployment: str | None = None,
) -> ContextMap:
    """Join what is there into a map; with a deployment, its blast radius. `graph`: which function is which node."""
    sites, ruled_out = select(scan.sites if scan else (), environment or {})
    builder = _Builder()
    names = _store_names(sites, traces)
    agents = _known_agents(traces, journal)
    for site in sites:
        _add_site(builder, site, names, agent_of(site, agents, graph))
    if traces is not None:
        _add_traces(builder, traces, names)
    if journal is not None:
        _add_journal(builder, journal)
    nodes, edges = builder.nodes(), builder.edges()
    same = _same_stores(nodes)
    ways = ways_of(nodes, edges, same)
    return ContextMap(
        nodes=nodes,
        edges=edges,
        boundaries=_boundaries(nodes, edges, same),
        chain=longest_chain(ways, [node.id for node in nodes if node.kind in {"agent", "store"}]),
        blast=None if deployment is None else _blast(deployment, nodes, ways, journal),
        unresolved=_merged(site.choice for site in sites if site.choice is not None),
        unselected=tuple(sorted(f"{site.place} {site.store} ({site.selector})" for site in ruled_out)),
        blind=() if traces is None else traces.blind,
        coverage=_coverage(scan, traces, journal),
    )


def _coverage(scan: StaticScan | None, traces: TraceReport | None, journal: Journaled | None) -> Coverage:
    first, last = (None, None) if traces is None else (traces.first, traces.last)
    return Coverage(
        sites=None if scan is None else len(scan.sites),
        unparsed=() if scan is None else scan.unparsed,
        spans=None if traces is None else traces.spans,
        bad_parts=0 if traces is None else traces.bad_parts,
        window=None if first is None or last is None else (first, last),
        turns=None if journal is None else journal.turns,
        all_turns=journal is None or journal.all_turns,
    )


# ---------------------------------------------------------------- names


def _known_agents(traces: TraceReport | None, journal: Journaled | None) -> dict[str, str]:
    """Return the agents that traces and the journal name, by plain name; services are no agents of the code."""
    found = {each.agent for each in traces.traffic if each.agent_by != "service"} if traces else set()
    found |= {name for each in traces.handovers for name in (each.agent, each.to)} if traces else set()
    found |= set(journal.agents) if journal else set()
    return {plain(name): name for name in sorted(found, reverse=True)}


class _StoreNames:
    """Names of stores, made one for code and traces.

    Code often knows a family only ("chroma"), and so do some instrumentations. A store without a name is the only named
    one of its family, where there is just one. The address that a client opens names a store only where nothing names
    the collections and tables of its family.
    """

    def __init__(
        self, named: Iterable[tuple[str, str]], opened: Iterable[tuple[str, str]], savers: Mapping[str, str]
    ) -> None:
        self._named, self._opened = _by_family(named), _by_family(opened)
        self._savers = savers

    def of(self, family: str, name: str, *, is_address: bool = False) -> str:
        """Return the name of the node of a store."""
        name = _short(name)
        names = self._named.get(family) or self._opened.get(family, set())
        if is_address and family in self._named:
            name = ""
        if not name and len(names) == 1:
            name = next(iter(names))
        return f"{family}/{name}" if name else family

    def observed(self, call: Traffic) -> str:
        """Return the name of the node of a store in a trace; of LangGraph's own tables, that of its saver or store."""
        family, table = call.store.family, call.store.collection.rpartition(".")[2]
        tables = _SAVER_SQLITE if family == "sqlite" else _SAVER_TABLES
        framework = "lg-saver" if table in tables else "lg-store" if table in _STORE_TABLES else ""
        if framework and f"{framework}:{family}" in self._savers:
            return self._savers[f"{framework}:{family}"]
        return self.of(family, call.store.collection or call.store.namespace)


def _store_names(sites: Iterable[StaticSite], traces: TraceReport | None) -> _StoreNames:
    named = [(site.store, _short(_target(site))) for site in sites if site.site_class == "write"]
    opened = [(site.store, _short(site.target)) for site in sites if site.site_class == "bind"]
    savers = {site.store: site.store for site in sites if site.store.startswith(("lg-saver:", "lg-store:"))}
    if traces is not None:
        named += [(each.store.family, each.store.collection or each.store.namespace) for each in traces.traffic]
    return _StoreNames(named, opened, savers)


def _by_family(pairs: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for family, name in pairs:
        if name:
            found.setdefault(family, set()).add(name)
    return found


def _short(target: str) -> str:
    """Return what tells one store of a family from others: not a URL's password, nor a name made at run time."""
    if not target or "{" in target:
        return ""
    return target.rpartition("@")[2] if "://" in target else target


# ---------------------------------------------------------------- sources


def _add_site(builder: _Builder, site: StaticSite, names: _StoreNames, who: Named) -> None:
    is_pin = site.site_class == "pin" or site.store in _PINNED
    target, opened = _target(site), site.site_class == "bind"
    name = f"{site.store}/{target}".rstrip("/") if is_pin else names.of(site.store, target, is_address=opened)
    store = builder.node("system" if is_pin else "store", name, state=site.kind, place=site.place)
    if not site.function:  # declared in infrastructure: nobody's yet
        return
    agent = builder.node("agent", who.name, by=who.by, place=site.place)
    relation: Relation = "call" if is_pin else "write" if site.site_class == "write" else "use"
    edge = builder.edge(agent, store, relation, "static")
    edge.places.add(site.place)
    choice = site.choice
    if choice is None:
        edge.certain = True
    else:
        edge.choices.add(choice)


def _target(site: StaticSite) -> str:
    """Return the name that a site gives its store: no image, no graph, and no table that LangGraph makes by itself."""
    if site.site_class in {"decl", "attach"} or (
        site.store.startswith(("lg-saver:", "lg-store:")) and site.target in _OWN
    ):
        return ""
    return site.target


def _add_traces(builder: _Builder, traces: TraceReport, names: _StoreNames) -> None:
    for call in traces.traffic:
        agent = builder.node("agent", call.agent, by=call.agent_by)
        store = builder.node("store", names.observed(call))
        relation: Relation = "use" if call.access == "unknown" else call.access
        edge = builder.edge(agent, store, relation, "observed")
        edge.calls += call.calls
        edge.errors += call.errors
        edge.certain = True
        if call.deployment:
            _count(builder, builder.node("deployment", call.deployment), agent, "run", call.calls)
    for handover in traces.handovers:
        caller = builder.node("agent", handover.agent, by="agent")
        _count(builder, caller, builder.node("agent", handover.to, by="agent"), "call", handover.times)
    for external in traces.externals:
        system = builder.node("system", f"{external.kind}/{external.name}")
        _count(
            builder, builder.node("agent", external.agent, by="agent"), system, "call", external.calls, external.errors
        )


def _count(builder: _Builder, source: str, target: str, relation: Relation, calls: int, errors: int = 0) -> None:
    edge = builder.edge(source, target, relation, "observed")
    edge.calls += calls
    edge.errors += errors
    edge.certain = True


def _add_journal(builder: _Builder, journal: Journaled) -> None:
    for flow in journal.flows:
        agent = builder.node("agent", flow.agent, by="person" if flow.is_person else "kedge")
        store = builder.node("store", flow.store, state="kedge")
        edge = builder.edge(agent, store, flow.access, "journaled")
        edge.records += flow.records
        edge.certain = True
    for call in journal.calls:
        caller, called = (builder.node("agent", name, by="kedge") for name in (call.agent, call.to))
        edge = builder.edge(caller, called, "call", "journaled")
        edge.records += call.times
        edge.certain = True
    for ran in journal.ran:
        ident = builder.node("deployment", ran.deployment, state=ran.status)
        for agent_name in ran.agents:
            edge = builder.edge(ident, builder.node("agent", agent_name, by="kedge"), "run", "journaled")
            edge.certain = True


# ---------------------------------------------------------------- what follows


def _family(store: str) -> str:
    return store.partition("/")[0]


def _same_stores(nodes: Sequence[Node]) -> dict[str, tuple[str, ...]]:
    """Return of each store the others that may be the same: one of the two has no name, or is any of a kind (`:*`)."""
    stores = [node for node in nodes if node.kind == "store"]
    open_ended = [node for node in stores if "/" not in node.name]
    same: dict[str, set[str]] = {}
    for node in stores:
        for other in open_ended:
            family, general = _family(node.name), other.name
            alike = family == general or (general.endswith(":*") and family.startswith(general[:-1]))
            if alike and other.id != node.id:
                same.setdefault(node.id, set()).add(other.id)
                same.setdefault(other.id, set()).add(node.id)
    return {store: tuple(sorted(others)) for store, others in same.items()}


def _boundaries(
    nodes: Sequence[Node], edges: Sequence[Edge], same: Mapping[str, tuple[str, ...]]
) -> tuple[Boundary, ...]:
    kinds = {node.id: node.kind for node in nodes}
    found: dict[tuple[str, str, str], Boundary] = {}
    readers: dict[str, list[Edge]] = {}
    for edge in edges:
        if kinds[edge.target] == "store" and edge.relation in {"read", "use"}:
            readers.setdefault(edge.target, []).append(edge)
    for edge in edges:
        if edge.relation == "call" and kinds[edge.target] == "agent":
            _keep(found, Boundary(edge.source, edge.target, "", "call", not edge.choices, edge.provenance))
        elif kinds[edge.target] == "store" and edge.relation in {"write", "use"}:
            for store in (edge.target, *same.get(edge.target, ())):
                for reader in readers.get(store, ()):
                    if reader.source != edge.source and {edge.relation, reader.relation} != {"use"}:
                        _keep(found, _crossing(edge, reader))
    return tuple(sorted(found.values()))


def _crossing(writer: Edge, reader: Edge) -> Boundary:
    sure = writer.relation == "write" and reader.relation == "read" and writer.target == reader.target
    provenance = tuple(each for each in _ORDER if each in writer.provenance and each in reader.provenance)
    mixed = tuple(each for each in _ORDER if each in writer.provenance or each in reader.provenance)
    certain = sure and not writer.choices and not reader.choices
    return Boundary(writer.source, reader.source, writer.target, _kind(writer.target), certain, provenance or mixed)


def _keep(found: dict[tuple[str, str, str], Boundary], boundary: Boundary) -> None:
    key = (boundary.source, boundary.target, boundary.through)
    known = found.get(key)
    if known is None or (boundary.certain and not known.certain):
        found[key] = boundary


def _kind(store: str) -> Literal["store", "cache", "message"]:
    family = _family(store.partition(":")[2])
    if family in _QUEUES:
        return "message"
    return "cache" if any(word in family for word in _CACHES) else "store"


def _blast(name: str, nodes: Sequence[Node], ways: Mapping[str, tuple[str, ...]], journal: Journaled | None) -> Blast:
    ident = f"deployment:{name}"
    known = [node.name for node in nodes if node.kind == "deployment"]
    if name not in known:
        names = ", ".join(known) or "none"
        raise UnknownName(
            f"no deployment {name!r} in the traces and the database{nearest(name, known)}; there are: {names}"
        )
    ran = next((each for each in journal.ran if each.deployment == name), None) if journal else None
    return Blast(
        deployment=name,
        can=reach(ways, ident),
        did=None if ran is None else tuple(sorted(Reached(f"store:{each.store}", each.writes) for each in ran.reached)),
        agents=() if ran is None else ran.agents,
    )
