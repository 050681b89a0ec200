"""Blind spots: what an instrumentation does not observe, so that its absence from traces means nothing.

Each line was read in the source of the instrumentation, and those of sqlite3, sqlalchemy, chromadb and both LangChain
instrumentations were seen by running them (2026-12-01). A scope is matched by its beginning.
"""

from __future__ import annotations

from collections.abc import Iterable

from kedge.discovery.traces.model import BlindSpot

ALWAYS = (
    "stores whose client has no instrumentation in these processes: they leave no span",
    "files, module variables, lru_cache and other state of a process",
    "checkpointers and stores of LangGraph, mem0 and the like: only the SQL or HTTP of their database, if at all",
)

_SCOPES: dict[str, tuple[str, ...]] = {
    "opentelemetry.instrumentation.chromadb": (
        "names of collections: spans name the method only",
        "calls of the client (create_collection, delete_collection), count(), and all of the async client",
        "folder or server: two Chroma databases look like one",
    ),
    "opentelemetry.instrumentation.qdrant": (
        "calls to create and delete collections, retrieve, count, and payload indexes",
        "address of the server: two Qdrant servers look like one",
    ),
    "opentelemetry.instrumentation.pinecone": (
        "update, fetch, list, delete_namespace and upsert_from_dataframe; all of the async client",
        "names of indexes (only the host), and the namespace of writes",
    ),
    "opentelemetry.instrumentation.weaviate": (
        "deletes of objects, insert_many, near_text and other queries of version 4 beyond those it wraps",
        "names of collections in most calls, and the server",
    ),
    "opentelemetry.instrumentation.milvus": (
        "the ORM interface (Collection.insert, …), drop_collection, and all of the async client",
        "address or file of the database",
    ),
    "opentelemetry.instrumentation.lancedb": (
        "merge_insert, update, restore, optimize, create_table and drop_table: only add, search and delete are wrapped",
        "names of tables, the database, and all of the async client",
    ),
    "opentelemetry.instrumentation.marqo": ("calls other than add_documents, search and delete_documents",),
    "opentelemetry.instrumentation.sqlite3": (
        "statements of Connection.execute(), executemany() and executescript(): only those of cursors leave spans",
        "the database file: two SQLite files look like one",
        "the agent of calls through aiosqlite, which run in another thread; its Connection.execute() leaves no span",
    ),
    "opentelemetry.instrumentation.sqlalchemy": (
        "calls that a driver's instrumentation also traces, where both have no common parent: they count twice",
    ),
    "opentelemetry.instrumentation.redis": ("names of keys: statements are sanitized",),
    "opentelemetry.instrumentation.langchain": (
        "tables and collections behind retrievers, where their client is silent",
    ),
    "openinference.instrumentation.langchain": (
        "the agent of database calls: its spans never become the current span, so database spans are not below them",
    ),
    "openinference.instrumentation.llama_index": (
        "tables and collections behind retrievers, where their client is silent",
    ),
}


def blind_spots(scopes: Iterable[str]) -> tuple[BlindSpot, ...]:
    """Return what cannot be observed by these instrumentation scopes, and what no trace shows."""
    seen = set(scopes)
    found = [
        BlindSpot(scope, what)
        for scope, all_of_it in _SCOPES.items()
        if any(each == scope or each.startswith(f"{scope}.") for each in seen)
        for what in all_of_it
    ]
    return (*found, *(BlindSpot("", what) for what in ALWAYS))
