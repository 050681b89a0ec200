"""Attribution of calls: to the nearest agent, each once, whatever the instrumentation."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from kedge.discovery.traces import StoreName, TraceReport, read_traces
from kedge.discovery.traces.sql import tables_of
from tests.trace_files import document, span, write_lines

SQL: dict[str, Any] = {"db__system": "sqlite", "db__statement": "INSERT INTO notes VALUES (?)"}
CHROMA: dict[str, Any] = {"db__system": "chroma", "db__operation": "upsert"}


def _report(tmp_path: Path, *documents: dict[str, Any]) -> TraceReport:
    return read_traces(write_lines(tmp_path / "spans.jsonl", documents))


def _calls(report: TraceReport) -> list[tuple[str, str, str, str, int]]:
    return [(each.agent, each.agent_by, str(each.store), each.access, each.calls) for each in report.traffic]


AGENTS: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "GenAI convention": (
        {"gen_ai__operation__name": "invoke_agent", "gen_ai__agent__name": "planner"},
        ("planner", "agent"),
    ),
    "GenAI, name in the span": (
        {"name": "invoke_agent planner", "gen_ai__operation__name": "invoke_agent"},
        ("planner", "agent"),
    ),
    "OpenInference": ({"name": "planner", "openinference__span__kind": "AGENT"}, ("planner", "agent")),
    "OpenInference, agent.name": (
        {"openinference__span__kind": "AGENT", "agent__name": "planner"},
        ("planner", "agent"),
    ),
    "OpenInference, CrewAI": (
        {"openinference__span__kind": "AGENT", "graph__node__id": "planner"},
        ("planner", "agent"),
    ),
    "OpenLLMetry": ({"traceloop__span__kind": "agent", "traceloop__entity__name": "planner"}, ("planner", "agent")),
    "OpenLLMetry, workflow": (
        {"traceloop__span__kind": "workflow", "traceloop__entity__name": "support", "gen_ai__agent__name": "support"},
        ("support", "workflow"),
    ),
    "OpenLLMetry, class of a framework": (
        {
            "traceloop__span__kind": "workflow",
            "gen_ai__agent__name": "LangGraph",
            "gen_ai__operation__name": "invoke_agent",
        },
        ("service", "service"),
    ),
    "LangGraph, OpenLLMetry": (
        {"traceloop__span__kind": "task", "traceloop__association__properties__langgraph_node": "planner"},
        ("planner", "node"),
    ),
    "LangGraph, OpenInference": ({"metadata": '{"langgraph_node": "planner"}'}, ("planner", "node")),
    "LangGraph, step of a ready-made agent": (
        {"traceloop__association__properties__langgraph_checkpoint_ns": "planner:7f0|tools:8a1"},
        ("planner", "node"),
    ),
    "LangChain agent": (
        {"metadata": '{"lc_agent_name": "planner", "langgraph_node": "tools"}'},
        ("planner", "node"),
    ),
    "metadata that is no JSON": ({"metadata": "{"}, ("service", "service")),
    "no agent": ({"name": "GET /"}, ("service", "service")),
}


@pytest.mark.parametrize("name", AGENTS)
def test_agents_are_named_as_instrumentations_name_them(tmp_path: Path, name: str) -> None:
    attributes, (agent, by) = AGENTS[name]
    spans = [span(1, **attributes), span(2, 1, name="a tool"), span(3, 2, **SQL)]
    report = _report(tmp_path, document(spans, service__name="service"))
    assert _calls(report) == [(agent, by, "sqlite:notes", "write", 1)]


STORES: dict[str, tuple[dict[str, Any], list[tuple[StoreName, str]]]] = {
    "chroma": (
        {"name": "chroma.query", "db__system": "chroma", "db__operation": "query"},
        [(StoreName("chroma"), "read")],
    ),
    "qdrant": (
        {"name": "qdrant.upload_points", "db__system": "Qdrant", "qdrant.upload_points.collection_name": "notes"},
        [(StoreName("qdrant", collection="notes"), "write")],
    ),
    "qdrant reads": (
        {"name": "qdrant.query_points", "db__system": "Qdrant", "qdrant.search.collection_name": "notes"},
        [(StoreName("qdrant", collection="notes"), "read")],
    ),
    "pinecone": (
        {"name": "pinecone.delete", "db__system": "Pinecone", "server__address": "x.pinecone.io"},
        [(StoreName("pinecone", address="x.pinecone.io"), "write")],
    ),
    "milvus": (
        {
            "name": "milvus.hybrid_search",
            "db__system": "milvus",
            "db__operation": "hybrid_search",
            "db.milvus.search.collection_name": "c",
        },
        [(StoreName("milvus", collection="c"), "read")],
    ),
    "weaviate handle": ({"name": "db.weaviate.collections.get", "db__system": "weaviate", "db__operation": "get"}, []),
    "weaviate": (
        {
            "name": "db.weaviate.collections.create",
            "db__system": "weaviate",
            "db__operation": "create",
            "db.weaviate.collections.create.name": '"Docs"',
        },
        [(StoreName("weaviate", collection="Docs"), "write")],
    ),
    "lancedb": (
        {"name": "lancedb.add", "db__system": "lancedb", "db__operation": "add"},
        [(StoreName("lancedb"), "write")],
    ),
    "stable convention": (
        {
            "db__system__name": "postgresql",
            "db__namespace": "app",
            "db__query__text": "SELECT * FROM users u JOIN roles r ON true",
            "server__address": "db",
            "server__port": 5432,
        },
        [
            (StoreName("postgres", "app", "roles", "db:5432"), "read"),
            (StoreName("postgres", "app", "users", "db:5432"), "read"),
        ],
    ),
    "no statement": (
        {"name": "SELECT app", "db__system": "postgresql", "db__name": "app", "db__operation": "SELECT"},
        [(StoreName("postgres", "app"), "read")],
    ),
    "sqlalchemy's operation": (
        {"db__system": "sqlite", "db__name": "a.db", "db__operation": "insert a.db"},
        [(StoreName("sqlite", "a.db"), "write")],
    ),
    "begin": ({"name": "BEGIN", "db__system": "sqlite", "db__statement": "BEGIN"}, []),
    "connect": ({"name": "connect", "db__system": "sqlite"}, []),
    "redis": ({"name": "HSET", "db__system": "redis", "db__statement": "HSET ? ? ?"}, [(StoreName("redis"), "write")]),
    "redis set is no SQL": (
        {"name": "SET", "db__system": "redis", "db__statement": "SET ? ?"},
        [(StoreName("redis"), "write")],
    ),
    "redis pipeline": (
        {"name": "GET SET", "db__system": "redis", "db__statement": "GET ?\nSET ? ?"},
        [(StoreName("redis"), "write")],
    ),
    "redis read": (
        {"name": "GET", "db__system": "redis", "db__statement": "GET ?", "db.redis.database_index": 2},
        [(StoreName("redis", "2"), "read")],
    ),
    "redis ping": ({"name": "PING", "db__system": "redis", "db__statement": "PING"}, []),
    "mongo": (
        {
            "name": "app.find",
            "db__system": "mongodb",
            "db__name": "app",
            "db__statement": "find notes",
            "db__mongodb__collection": "notes",
        },
        [(StoreName("mongodb", "app", "notes"), "read")],
    ),
    "dynamodb": (
        {"rpc__service": "DynamoDB", "rpc__method": "BatchWriteItem", "aws.dynamodb.table_names": ["a", "b"]},
        [(StoreName("dynamodb", collection="a"), "write"), (StoreName("dynamodb", collection="b"), "write")],
    ),
    "kafka": (
        {"messaging__system": "kafka", "messaging__destination__name": "jobs", "messaging__operation": "receive"},
        [(StoreName("kafka", collection="jobs"), "read")],
    ),
    "data source": (
        {"gen_ai__provider__name": "aws.bedrock", "gen_ai__data_source__id": "KB1"},
        [(StoreName("aws.bedrock-data-source", collection="KB1"), "read")],
    ),
    "retriever": (
        {"name": "vector_db_retrieve FAISS", "gen_ai__operation__name": "vector_db_retrieve"},
        [(StoreName("retriever", collection="FAISS"), "read")],
    ),
    "unknown operation": ({"name": "frobnicate", "db__system": "newdb"}, [(StoreName("newdb"), "unknown")]),
}


@pytest.mark.parametrize("name", STORES)
def test_stores_are_named_as_instrumentations_name_them(tmp_path: Path, name: str) -> None:
    attributes, expected = STORES[name]
    report = _report(tmp_path, document([span(1, **attributes)]))
    assert [(each.store, each.access) for each in report.traffic] == expected


STATEMENTS = {
    "select a from x, y z join w using (i) where b in (select c from d)": "-d -w -x -y",
    "WITH q AS (SELECT * FROM a), r AS (SELECT 1) INSERT INTO b SELECT * FROM q": "+b -a",
    "INSERT OR REPLACE INTO checkpoints VALUES ('from x')": "+checkpoints",
    "INSERT INTO a VALUES (1) ON CONFLICT (x) DO UPDATE SET y = 1": "+a",
    "UPDATE t SET a = 1 FROM u": "+t -u",
    'DELETE FROM ONLY "My T" -- FROM other': "+My T",
    "SELECT * FROM Public.Users FOR UPDATE": "-public.users",
    "CREATE UNIQUE INDEX IF NOT EXISTS i ON t (a)": "+t",
    "COPY t (a) FROM STDIN": "+t",
    "COPY t TO STDOUT": "-t",
    "CREATE EXTENSION vector": "+",
    "PRAGMA journal_mode = WAL": "",
    "/* comment */ SAVEPOINT a": "",
    "frobnicate": None,
}


@pytest.mark.parametrize("statement", STATEMENTS)
def test_tables_of_statements(statement: str) -> None:
    found = tables_of(statement)
    shown = (
        None if found is None else " ".join(sorted(f"{'+' if verb == 'write' else '-'}{name}" for verb, name in found))
    )
    assert shown == STATEMENTS[statement]


def test_a_call_counts_once_where_stores_and_layers_nest(tmp_path: Path) -> None:
    agent = span(1, gen_ai__agent__name="a")
    nested = [span(2, 1, **CHROMA), span(3, 2, **SQL), span(4, 2, **CHROMA)]
    orm = document(
        [span(5, 1, start=10, end=20, **SQL, db__name="x.db")], scope="opentelemetry.instrumentation.sqlalchemy"
    )
    driver = document(
        [span(6, 1, start=12, end=18, **SQL), span(7, 1, start=30, end=31, **SQL)],
        scope="opentelemetry.instrumentation.sqlite3",
    )
    report = _report(tmp_path, document([agent, *nested]), orm, driver)
    assert _calls(report) == [
        ("a", "agent", "chroma", "write", 1),
        ("a", "agent", "sqlite:notes", "write", 1),
        ("a", "agent", "sqlite:x.db/notes", "write", 1),
    ]
    assert report.inner == 3


def test_a_retriever_counts_where_no_span_below_names_its_store(tmp_path: Path) -> None:
    retriever: dict[str, Any] = {"name": "VectorStoreRetriever", "openinference__span__kind": "RETRIEVER"}
    spans = [
        span(1, **retriever),
        span(2, 1),
        span(3, 2, name="chroma.query", db__system="chroma"),
        span(4, **retriever),
    ]
    report = _report(tmp_path, document(spans, service__name="s"))
    assert _calls(report) == [
        ("s", "service", "chroma", "read", 1),
        ("s", "service", "retriever:VectorStoreRetriever", "read", 1),
    ]


def test_what_is_below_a_received_message_counts(tmp_path: Path) -> None:
    received = span(1, messaging__system="kafka", messaging__destination__name="jobs", messaging__operation="process")
    report = _report(tmp_path, document([received, span(2, 1, **SQL)], service__name="worker"))
    assert {str(each.store) for each in report.traffic} == {"kafka:jobs", "sqlite:notes"}


def test_the_nearest_agent_has_the_call_and_agents_call_agents(tmp_path: Path) -> None:
    spans = [
        span(1, gen_ai__agent__name="boss", gen_ai__conversation__id="c1", gen_ai__agent__version="v9"),
        span(2, 1),
        span(3, 2, gen_ai__agent__name="clerk"),
        span(4, 3, **SQL),
        span(5, 2, **CHROMA),
    ]
    report = _report(tmp_path, document(spans, service__name="s", service__version="1"))
    assert _calls(report) == [("boss", "agent", "chroma", "write", 1), ("clerk", "agent", "sqlite:notes", "write", 1)]
    assert {(each.deployment, each.sessions) for each in report.traffic} == {("v9", 1)}
    assert [(each.agent, each.to, each.by, each.times) for each in report.handovers] == [("boss", "clerk", "call", 1)]


def test_without_its_parent_a_call_counts_for_the_service_and_is_named(tmp_path: Path) -> None:
    report = _report(tmp_path, document([span(4, 3, **SQL)], service__name="s", service__version="v1"))
    assert _calls(report) == [("s", "service", "sqlite:notes", "write", 1)]
    assert (report.orphans, report.traffic[0].deployment) == (1, "v1")
    nameless = _report(tmp_path, document([span(4, 3, **SQL)], service__name="unknown_service"))
    assert _calls(nameless) == [("unknown", "service", "sqlite:notes", "write", 1)]


def test_links_name_the_agent_of_work_without_a_parent_in_the_same_service(tmp_path: Path) -> None:
    agent = document([span(1, gen_ai__agent__name="a")], service__name="s")
    background = document([span(1, trace=2, links=[(1, 1)]), span(2, 1, trace=2, **SQL)], service__name="s")
    other = document([span(1, trace=3, links=[(1, 1)]), span(2, 1, trace=3, **CHROMA)], service__name="other")
    linked = document([span(1, trace=4, links=[(1, 1)], gen_ai__agent__name="b")], service__name="other")
    report = _report(tmp_path, linked, other, background, agent)
    assert _calls(report) == [("a", "agent", "sqlite:notes", "write", 1), ("other", "service", "chroma", "write", 1)]
    assert [(each.agent, each.to, each.by) for each in report.handovers] == [("a", "b", "link")]


def test_a_cycle_of_parents_ends(tmp_path: Path) -> None:
    report = _report(tmp_path, document([span(1, 2, **SQL), span(2, 1), span(3, 3)], service__name="s"))
    assert report.spans == 3
    assert _calls(report) == [("s", "service", "sqlite:notes", "write", 1)]


def test_models_and_hosts_are_other_systems(tmp_path: Path) -> None:
    model: dict[str, Any] = {
        "gen_ai__operation__name": "chat",
        "gen_ai__provider__name": "openai",
        "gen_ai__request__model": "gpt",
    }
    http: dict[str, Any] = {"kind": 3, "http__request__method": "POST", "server__address": "api.example.com"}
    spans = [span(1, gen_ai__agent__name="a"), span(2, 1, **model), span(3, 2, **http), span(4, 1, error=True, **http)]
    report = _report(tmp_path, document([*spans, span(5, 1, **CHROMA), span(6, 5, **http)]))
    assert [(each.agent, each.kind, each.name, each.calls, each.errors) for each in report.externals] == [
        ("a", "http", "api.example.com", 1, 1),
        ("a", "model", "openai/gpt", 1, 0),
    ]


def test_rates_times_and_errors(tmp_path: Path) -> None:
    second = 1_000_000_000
    spans = [
        span(1, start=10 * second, end=20 * second),
        *(span(n, 1, start=n * second, error=n == 13, **CHROMA) for n in (12, 13, 14)),
    ]
    row = _report(tmp_path, document(spans)).traffic[0]
    assert (row.calls, row.errors, row.first, row.last, row.per_second) == (3, 1, 12.0, 14.0, 0.3)


def test_secrets_in_names_are_hidden(tmp_path: Path) -> None:
    url = "amqp://guest:hunter22@queue/vhost"
    shown = _report(
        tmp_path,
        document(
            [
                span(1, kind=4, messaging__system="rabbitmq", messaging__operation="publish", messaging__url=url),
                span(
                    2,
                    db__system="postgresql",
                    db__name="postgres://me:hunter22@db/app",
                    db__statement="SELECT 1 FROM t",
                ),
                span(3, db__system="redis", db__statement="GET a", server__address="x" * 100_000),
                span(4, kind=3, http__method="GET", url__full="https://host?token=hunter22"),
            ]
        ),
    )
    text = msgspec.json.encode(shown).decode()
    assert "hunter22" not in text
    assert "queue/vhost" in text
    assert "xxx" not in text
    assert [each.name for each in shown.externals] == ["host"]
