"""Two agents with Chroma and SQLite, traced by the real instrumentations: writes its spans and its own journal.

The journal is what the program did, noted where it does it. What the instrumentations do not observe is in it, too.

    python traced_team.py DEPLOYMENT SPANS.jsonl JOURNAL.json     in an empty folder, where its databases are made
"""

import base64
import json
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import chromadb
import sqlalchemy
from google.protobuf.json_format import MessageToDict
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langgraph.graph import END, START, StateGraph
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.instrumentation.chromadb import ChromaInstrumentor
from opentelemetry.instrumentation.langchain import LangchainInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult

SERVICE = "support-service"
SESSIONS = {"v1": ("ada", "bob"), "v2": ("cleo",)}
BATCH = 12
IDS = {"traceId", "spanId", "parentSpanId"}


class FileExporter:
    """Writes batches of spans, one document a line, with ids in hex, as the collector's file exporter does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._batch: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._batch += spans
        if len(self._batch) >= BATCH:
            self.write()
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.write()

    def write(self) -> None:
        if self._batch:
            with self._path.open("a") as file:
                file.write(json.dumps(_hex(MessageToDict(encode_spans(self._batch))), separators=(",", ":")) + "\n")
        self._batch = []


def _hex(value: Any) -> Any:
    if isinstance(value, list):
        return [_hex(each) for each in value]
    if isinstance(value, dict):
        if value.get("key") == "exception.stacktrace":
            return {**value, "value": {"stringValue": ""}}  # it names folders of this machine
        return {key: base64.b64decode(inner).hex() if key in IDS else _hex(inner) for key, inner in value.items()}
    return value


class Journal:
    """What the program did: one entry a call."""

    def __init__(self, deployment: str) -> None:
        self.deployment = deployment
        self.session = ""
        self.calls: list[dict[str, Any]] = []

    def note(
        self, agent: str, store: str, collection: str, access: str, *, observable: bool = True, error: bool = False
    ) -> None:
        self.calls.append(
            {
                "agent": agent,
                "store": store,
                "collection": collection,
                "access": access,
                "deployment": self.deployment,
                "session": self.session,
                "error": error,
                "observable": observable,
            }
        )


class State(TypedDict):
    question: str
    answer: str


class Team:
    """The researcher fills the vector store and a note book; the writer answers from both."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        client = chromadb.PersistentClient("vectors", chromadb.Settings(anonymized_telemetry=False))
        self.passages = client.get_or_create_collection("passages")
        self.model = FakeListChatModel(responses=["yes", "no"])
        self.engine = sqlalchemy.create_engine("sqlite:///drafts.db")

    def researcher(self, state: State) -> dict[str, str]:
        who = "researcher"
        self.passages.upsert(ids=["1", "2"], embeddings=[[1.0, 0.0], [0.0, 1.0]], documents=["one", "two"])
        self.journal.note(who, "chroma", "passages", "write")
        self.passages.count()
        self.journal.note(who, "chroma", "passages", "read", observable=False)
        with sqlite3.connect("notes.db") as notes:
            cursor = notes.cursor()
            cursor.execute("CREATE TABLE IF NOT EXISTS notes (question TEXT, note TEXT)")
            self.journal.note(who, "sqlite", "notes", "write")
            cursor.executemany(
                "INSERT INTO notes VALUES (?, ?)", [(state["question"], "first"), (state["question"], "second")]
            )
            self.journal.note(who, "sqlite", "notes", "write")
            notes.execute("INSERT INTO notes VALUES ('by the connection', '')")
            self.journal.note(who, "sqlite", "notes", "write", observable=False)
        self.model.invoke("what do you think?")
        return {"answer": "researched"}

    def writer(self, state: State) -> dict[str, str]:
        who = "writer"
        for _ in range(2):
            self.passages.query(query_embeddings=[[1.0, 0.1]], n_results=1)
            self.journal.note(who, "chroma", "passages", "read")
        try:
            self.passages.upsert(ids=["3"], embeddings=[[1.0, 2.0, 3.0]])
        except Exception:  # noqa: BLE001 -- the wrong dimension is refused: what it raises differs between versions
            self.journal.note(who, "chroma", "passages", "write", error=True)
        with sqlite3.connect("notes.db") as notes:
            notes.cursor().execute("SELECT note FROM notes WHERE question = ?", (state["question"],)).fetchall()
            self.journal.note(who, "sqlite", "notes", "read")
        with self.engine.begin() as drafts:
            drafts.execute(sqlalchemy.text("CREATE TABLE IF NOT EXISTS drafts (text TEXT)"))
            self.journal.note(who, "sqlite", "drafts", "write")
            drafts.execute(sqlalchemy.text("INSERT INTO drafts SELECT text FROM (SELECT 'a draft' AS text)"))
            self.journal.note(who, "sqlite", "drafts", "write")
        return {"answer": "written"}


def main(deployment: str, spans: str, journal_path: str) -> None:
    exporter = FileExporter(Path(spans))
    provider = TracerProvider(resource=Resource({"service.name": SERVICE, "service.version": deployment}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    for instrumentor in (
        SQLite3Instrumentor(),
        SQLAlchemyInstrumentor(),
        ChromaInstrumentor(),
        LangchainInstrumentor(),
    ):
        instrumentor.instrument()
    journal = Journal(deployment)
    team = Team(journal)
    graph = StateGraph(State)
    graph.add_node("researcher", team.researcher)
    graph.add_node("writer", team.writer)
    graph.add_edge(START, "researcher")
    graph.add_edge("researcher", "writer")
    graph.add_edge("writer", END)
    compiled = graph.compile()
    for session in SESSIONS[deployment]:
        journal.session = session
        compiled.invoke({"question": "why?", "answer": ""}, {"configurable": {"thread_id": session}})
    exporter.write()
    Path(journal_path).write_text(json.dumps(journal.calls, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
