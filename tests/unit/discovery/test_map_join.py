"""Join of code, traces and journal: names, edges, boundaries, reach. The journal's own reading: test_map_journal.py."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kedge.discovery.map import ContextMap, context_map
from kedge.discovery.map.graphs import graph_nodes
from kedge.discovery.map.join import join
from kedge.discovery.map.journal import Called, Flow, Journaled, Ran, Space
from kedge.discovery.map.model import Edge
from kedge.discovery.map.reach import longest_chain, reach
from kedge.discovery.map.static import StaticScan, StaticSite, agent_of, plain
from kedge.discovery.traces import StoreName, TraceReport, Traffic, read_traces
from kedge.errors import InvalidValue, UnknownName
from tests.trace_files import RECORDED


def site(path: str, site_class: str, store: str, function: str = "<module>", line: int = 1, **more: Any) -> StaticSite:
    return StaticSite(path, line, site_class, store, "embedded", function, **more)


def traces(*calls: tuple[str, str, str, str], deployment: str = "") -> TraceReport:
    """Return a report of calls (agent, family, collection, access), one each."""
    rows = tuple(
        Traffic(agent, "agent", StoreName(family, collection=name), access, deployment, 1, 0, 1, 0.0, 1.0)  # type: ignore[arg-type]
        for agent, family, name, access in calls
    )
    nothing: Any = dict.fromkeys(("handovers", "externals", "blind", "bad", "services", "scopes"), ())
    nothing |= dict.fromkeys(("bad_parts", "files", "spans", "traces", "duplicates", "orphans", "neither", "inner"), 0)
    return TraceReport(traffic=rows, first=None, last=None, **nothing)


def edges(found: ContextMap) -> set[tuple[str, str, str]]:
    return {(edge.source, edge.relation, edge.target) for edge in found.edges}


def edge(found: ContextMap, source: str, relation: str, target: str) -> Edge:
    (one,) = (each for each in found.edges if (each.source, each.relation, each.target) == (source, relation, target))
    return one


def test_one_edge_of_code_traces_and_journal_has_all_three() -> None:
    code = StaticScan(tuple(site("team.py", "write", "kedge:context", "Team.planner", line=line) for line in (12, 7)))
    seen = traces(("planner", "kedge:context", "", "write"))
    kept = Journaled((Flow("planner", "kedge:context", "write", 5),), (), (), 3, all_turns=True)
    found = join(code, seen, kept)
    one = edge(found, "agent:planner", "write", "store:kedge:context")
    assert one.provenance == ("static", "observed", "journaled")
    assert (one.calls, one.records, one.places) == (1, 5, ("team.py:7", "team.py:12"))
    assert (found.coverage.sites, found.coverage.turns) == (2, 3)


def test_an_edge_of_the_code_stays_without_a_trace() -> None:
    code = StaticScan((site("a_agent.py", "write", "chroma"),))
    found = join(code, traces(("other", "sqlite", "notes", "read")))
    assert ("agent:a_agent", "write", "store:chroma") in edges(found)


@pytest.mark.parametrize(
    ("path", "function", "agent", "by"),
    [
        ("team.py", "Team.planner", "planner", "name"),
        ("agents/Planner/memory.py", "save", "planner", "name"),
        ("x.py", "planner_node.inner", "planner", "name"),
        ("crew.py", "Crew.financial_agent", "financial_agent", "code"),
        ("crew.py", "ChatAgent.load", "ChatAgent", "code"),
        ("src/agents/weather_agent.py", "load", "weather_agent", "code"),
        ("src/agents/tools.py", "load", "src/agents/tools", "module"),
        ("src/agent.py", "<module>", "src/agent", "module"),
        ("notes.ipynb:cell3", "<module>", "notes", "module"),
    ],
)
def test_the_agent_of_a_site(path: str, function: str, agent: str, by: str) -> None:
    found = agent_of(site(path, "write", "chroma", function), {"planner": "planner"})
    assert (found.name, found.by) == (agent, by)


def test_files_of_the_same_path_in_two_folders_are_two_modules(tmp_path: Path) -> None:
    for name in ("api", "web"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "app.py").write_text("import chromadb\n\nclient = chromadb.PersistentClient('./m')\n")
    (tmp_path / "api" / "plan.py").write_text(
        "import chromadb\n\n\ndef plan(state):\n    chromadb.PersistentClient('./m')\n\n\n"
        "builder.add_node('planner', plan)\n"
    )
    found = context_map(scans=[tmp_path / "api", tmp_path / "web"])
    assert {edge.source for edge in found.edges} == {"agent:api/app", "agent:web/app", "agent:planner"}
    assert {place for edge in found.edges for place in edge.places} == {"api/app.py:3", "web/app.py:3", "api/plan.py:5"}
    assert {edge.source for edge in context_map(scans=[tmp_path / "web"] * 2).edges} == {"agent:app"}


def test_functions_that_are_graph_nodes_are_agents(tmp_path: Path) -> None:
    (tmp_path / "graph.py").write_text(
        "import sqlite3\n\n\ndef make_plan(state):\n    sqlite3.connect('plans.db')\n\n\n"
        "def check(state):\n    sqlite3.connect('checks.db')\n\n\n"
        "def call(state):\n    sqlite3.connect('calls.db')\n\n\n"
        "def build(graph):\n    graph.add_node('planner', make_plan)\n    graph.add_node(check)\n"
        "    graph.add_node('tools', call)\n"
    )
    found = context_map(scans=[tmp_path])
    assert {edge.target: edge.source for edge in found.edges} == {
        "store:sqlite/plans.db": "agent:planner", "store:sqlite/checks.db": "agent:check",
        "store:sqlite/calls.db": "agent:graph",
    }  # fmt: skip
    assert {node.name: node.by for node in found.nodes if node.kind == "agent"} == {
        "planner": "graph", "check": "graph", "graph": "module",
    }  # fmt: skip


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "text", ["\n" * 300_000, "".join(f"g.add_node('a{n}', f{n})\n" for n in range(40_000))], ids=["lines", "nodes"]
)
def test_nodes_are_found_in_time(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.py").write_text(f"g.add_node('plan', make){text}async def make(): ...\n")
    assert graph_nodes([tmp_path])["a.py", "make"] == "plan"


def test_nodes_of_javascript_and_of_two_graphs(tmp_path: Path) -> None:
    (tmp_path / "a.ts").write_text('graph.addNode("plan", this.makePlan).addNode(`x`, async (s) => s);\n')
    graphs = ["a.add_node('one', shared)", "b.add_node('two', nodes.shared)", "c.add_node('p', nodes.p_node)"]
    (tmp_path / "b.py").write_text("\n".join([*graphs, "d.add_node(main)", "async def main(state): ..."]))
    assert graph_nodes([tmp_path]) == {("", "makePlan"): "plan", ("", "p_node"): "p", ("b.py", "main"): "main"}


def test_plain_names_compare_code_and_traces() -> None:
    assert plain("Research-Agent") == plain("research_node") == plain("Research") == "research"
    assert plain("agent") == "agent"


def test_a_store_without_a_name_is_the_only_named_one_of_its_family() -> None:
    code = StaticScan((site("a_agent.py", "bind", "chroma"), site("a_agent.py", "bind", "sqlite")))
    seen = traces(("b", "chroma", "kb", "read"), ("b", "sqlite", "x", "read"), ("b", "sqlite", "y", "read"))
    found = join(code, seen)
    assert {node.name for node in found.nodes if node.kind == "store"} == {
        "chroma/kb",
        "sqlite",
        "sqlite/x",
        "sqlite/y",
    }


def test_an_address_names_a_store_only_where_no_collection_is_named() -> None:
    opens = (
        site("a_agent.py", "bind", "chroma", target="./memory"),
        site("b_agent.py", "bind", "chroma", target="./memory"),
    )
    assert {node.name for node in join(StaticScan(opens)).nodes} >= {"chroma/./memory"}
    writes = site("b_agent.py", "write", "chroma", line=5, target="notes")
    found = join(StaticScan((*opens, writes)))
    assert {node.name for node in found.nodes if node.kind == "store"} == {"chroma/notes"}
    assert [(each.source, each.target, each.certain) for each in found.boundaries] == [
        ("agent:b_agent", "agent:a_agent", False)
    ]


def test_tables_of_checkpointers_are_the_checkpointer_of_the_code() -> None:
    code = StaticScan((site("graph.py", "bind", "lg-saver:sqlite"),))
    calls = [
        ("app", "sqlite", "checkpoints", "write"),
        ("app", "sqlite", "writes", "write"),
        ("app", "sqlite", "t", "read"),
    ]
    names = {node.name for node in join(code, traces(*calls)).nodes if node.kind == "store"}
    assert names == {"lg-saver:sqlite", "sqlite/t"}
    deletes = StaticScan(
        (
            site("graph.py", "bind", "lg-saver:sqlite"),
            site("graph.py", "write", "lg-saver:sqlite", line=9, target="writes"),
        )
    )
    assert {node.name for node in join(deletes, traces(*calls)).nodes if node.kind == "store"} == names
    assert "sqlite/checkpoints" in {node.name for node in join(None, traces(*calls)).nodes}


def test_passwords_and_images_are_no_names_of_stores() -> None:
    sites = (
        site("a_agent.py", "bind", "postgres", target="postgresql://me:secret@db/app"),
        site("b_agent.py", "bind", "postgres", target="postgresql://{}:{}@{}/{}"),
        site("compose.yaml", "decl", "postgres", "", target="postgres:16"),
    )
    found = join(StaticScan(sites))
    assert {node.name for node in found.nodes} == {"a_agent", "b_agent", "postgres/db/app"}
    assert edges(found) == {
        ("agent:a_agent", "use", "store:postgres/db/app"), ("agent:b_agent", "use", "store:postgres/db/app"),
    }  # fmt: skip


def test_boundaries_are_certain_where_one_writes_and_another_reads() -> None:
    found = join(
        None, traces(("a", "chroma", "kb", "write"), ("b", "chroma", "kb", "read"), ("a", "chroma", "kb", "read"))
    )
    (crossing,) = found.boundaries
    assert (crossing.source, crossing.target, crossing.through) == ("agent:a", "agent:b", "store:chroma/kb")
    assert (crossing.kind, crossing.certain, crossing.provenance) == ("store", True, ("observed",))


def test_boundaries_may_be_where_the_code_only_opens_a_store_or_a_name_is_missing() -> None:
    opens = StaticScan((site("a_agent.py", "write", "lg-store:*"), site("b_agent.py", "bind", "lg-store:memory")))
    (crossing,) = join(opens).boundaries
    assert (crossing.source, crossing.target, crossing.certain) == ("agent:a_agent", "agent:b_agent", False)
    both_open = StaticScan((site("a_agent.py", "bind", "chroma"), site("b_agent.py", "bind", "chroma")))
    assert join(both_open).boundaries == ()
    other = traces(("a", "sqlite", "x", "write"), ("b", "sqlite", "y", "read"))
    assert join(None, other).boundaries == ()


@pytest.mark.parametrize(
    ("family", "kind"), [("redis", "cache"), ("proc-cache", "cache"), ("kafka", "message"), ("qdrant", "store")]
)
def test_boundaries_tell_caches_and_messages(family: str, kind: str) -> None:
    found = join(None, traces(("a", family, "x", "write"), ("b", family, "x", "read")))
    assert [each.kind for each in found.boundaries] == [kind]


def test_calls_between_agents_are_boundaries() -> None:
    found = join(None, None, Journaled((), (Called("a", "b", 2),), (), 2, all_turns=True))
    assert [(each.source, each.target, each.kind, each.certain) for each in found.boundaries] == [
        ("agent:a", "agent:b", "call", True)
    ]


def test_alternatives_stay_with_their_selector_and_resolve_by_the_environment() -> None:
    among = ("postgres", "sqlite")
    sites = tuple(
        site(
            "memory_agent.py",
            "write",
            store,
            line=line,
            selector=f"env(DB)={store}",
            default=store == "sqlite",
            alternatives=among,
        )
        for line, store in enumerate(among, start=1)
    )
    sites += (site("memory_agent.py", "write", "redis", line=9, selector="env(CACHE)"),)
    open_map = join(StaticScan(sites))
    choices = {each.target: each.choices for each in open_map.edges}
    assert choices["store:postgres"][0].selector == "env(DB)=postgres"
    assert choices["store:sqlite"][0].alternatives == among
    assert [each.selector for each in open_map.unresolved] == ["env(CACHE)", "env(DB)=postgres", "env(DB)=sqlite"]
    decided = join(StaticScan(sites), environment={"DB": "Postgres", "CACHE": "yes"})
    assert {edge.target: bool(edge.choices) for edge in decided.edges} == {"store:postgres": False, "store:redis": True}
    assert decided.unselected == ("memory_agent.py:2 sqlite (env(DB)=sqlite)",)
    other = site("memory_agent.py", "bind", "postgres", line=5, selector="env(DB)=postgres", alternatives=("mongodb",))
    merged = {each.selector: each.alternatives for each in join(StaticScan((*sites, other))).unresolved}
    assert merged["env(DB)=postgres"] == ("mongodb", "postgres", "sqlite")
    with_default = (
        site("memory_agent.py", "bind", "redis", selector="env(STORE)=redis"),
        site("memory_agent.py", "bind", "sqlite", line=2, selector="env(STORE)", default=True),
    )
    ruled_out = join(StaticScan(with_default), environment={"STORE": "redis"})
    assert ruled_out.unselected == ("memory_agent.py:2 sqlite (env(STORE))",)
    assert [each.selector for each in join(StaticScan(with_default), environment={"STORE": "x"}).unresolved] == [
        "env(STORE)"
    ]
    elsewhere = join(StaticScan(sites), environment={"OTHER": "x"})
    assert elsewhere.edges == open_map.edges


def test_references_to_models_and_prompts_are_other_systems() -> None:
    found = join(StaticScan((site("a_agent.py", "pin", "hf-model", target="org/model"),)))
    assert edges(found) == {("agent:a_agent", "call", "system:hf-model/org/model")}


def test_the_blast_radius_counts_steps_along_writes_and_reads() -> None:
    calls = [
        ("a", "chroma", "kb", "write"),
        ("b", "chroma", "kb", "read"),
        ("b", "redis", "q", "write"),
        ("c", "redis", "q", "read"),
    ]
    seen = traces(calls[0], deployment="v2")
    rest = traces(*calls[1:], ("d", "chroma", "other", "read"))
    both = msgspec.structs.replace(seen, traffic=seen.traffic + rest.traffic)
    found = join(None, both, deployment="v2")
    assert found.blast is not None
    assert {step.node: step.steps for step in found.blast.can} == {
        "agent:a": 1, "store:chroma/kb": 2, "agent:b": 3, "store:redis/q": 4, "agent:c": 5,
    }  # fmt: skip
    assert found.blast.did is None
    assert found.chain == ("agent:a", "store:chroma/kb", "agent:b", "store:redis/q", "agent:c")
    with pytest.raises(UnknownName, match=r"did you mean 'v2'.*there are: v2"):
        join(None, both, deployment="v22")


def test_the_blast_radius_says_what_the_journal_says() -> None:
    ran = Ran("v2", "canary", ("a",), (Space("kedge:memory", 4),))
    kept = Journaled((Flow("a", "kedge:memory", "write", 9),), (), (ran,), 9, all_turns=False)
    found = join(None, None, kept, deployment="v2")
    assert found.blast is not None
    assert [(each.store, each.writes) for each in found.blast.did or ()] == [("store:kedge:memory", 4)]
    assert found.blast.agents == ("a",)
    assert not found.coverage.all_turns


def test_reach_takes_the_shortest_way_and_cycles_end() -> None:
    ways = {"a": ("b", "c"), "b": ("c",), "c": ("a", "d"), "d": ()}
    assert {step.node: step.steps for step in reach(ways, "a")} == {"b": 1, "c": 1, "d": 2}
    two_ways = {"a": ("b", "c"), "b": ("x",), "c": ("d",), "d": ("x",), "x": ()}
    assert {step.node: step.steps for step in reach(two_ways, "a")}["x"] == 2
    assert longest_chain(ways, ways) == ("a", "c", "d")
    assert longest_chain({"a": ()}, ["a"]) == ()


def test_documents_and_folders_give_the_same_map(tmp_path: Path) -> None:
    document = {
        "version": 1,
        "sites": [
            {"path": "a_agent.py", "line": 3, "class": "write", "store": "chroma", "kind": "remote", "function": "f",
             "selector": None, "evidence": [{"text": "because"}], "fingerprint": "x"},
        ],
        "stores": [], "unparsed": [{"path": "bad.py", "reason": "binary", "lines": []}],
    }  # fmt: skip
    path = tmp_path / "state.json"
    path.write_text(json.dumps(document))
    found = context_map(scans=[path], traces=[*RECORDED])
    assert ("agent:a_agent", "write", "store:chroma") in edges(found)
    assert found.coverage.unparsed == ("bad.py",)
    assert found == context_map(scans=[path], traces=read_traces(*RECORDED))
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "a_agent.py").write_text("import sqlite3\n\n\ndef f():\n    sqlite3.connect('x.db')\n")
    assert ("agent:a_agent", "use", "store:sqlite/x.db") in edges(context_map(scans=[folder]))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "no JSON document of a scan"),
        ('{"version": 9, "sites": []}', "version 9"),
        ('{"x": ' + "[" * 100_000, "no JSON document of a scan"),
        ('{"version": 1, "sites": [{"path": "\udcff"}]}', "no JSON document of a scan"),
    ],
)
def test_other_documents_are_refused(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(content, errors="surrogateescape")
    with pytest.raises(InvalidValue, match=says):
        context_map(scans=[path])
    with pytest.raises(InvalidValue, match="nothing to map"):
        context_map()
    with pytest.raises(InvalidValue, match="cannot read the scan"):
        context_map(scans=[tmp_path / "missing.json"])


def test_agents_of_the_code_meet_those_of_traces() -> None:
    code = StaticScan(
        (
            site("team.py", "write", "chroma", "Team.researcher", line=9),
            site("team.py", "bind", "chroma", "Team.__init__"),
        )
    )
    found = join(code, read_traces(*RECORDED))
    one = edge(found, "agent:researcher", "write", "store:chroma")
    assert (one.provenance, one.calls, one.places) == (("static", "observed"), 3, ("team.py:9",))
    assert ("agent:team", "use", "store:chroma") in edges(found)
