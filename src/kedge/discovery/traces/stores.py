"""Stores that a span reads or writes, by the attributes and span names that instrumentations emit.

Sources, read and run: OpenTelemetry's stable and earlier database conventions, opentelemetry-instrumentation-* 0.66b
(dbapi, sqlite3, sqlalchemy, psycopg, pymongo, redis, elasticsearch, botocore, kafka), OpenLLMetry 0.62 (chromadb,
qdrant, pinecone, weaviate, milvus, lancedb, marqo, langchain), OpenInference 0.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from kedge.discovery.traces.model import Access, StoreName
from kedge.discovery.traces.spans import Span
from kedge.discovery.traces.sql import first_word, tables_of, verb_of
from kedge.discovery.traces.words import words

_SYSTEM = ("db.system.name", "db.system")
_NAMESPACE = ("db.namespace", "db.name", "db.redis.database_index", "pinecone.query.namespace")
_COLLECTION = (
    "db.collection.name", "db.mongodb.collection", "db.sql.table", "db.cassandra.table", "elasticsearch.target",
    "db.elasticsearch.path_parts.index", "db.operation.parameter.index", "db.weaviate.collections.create.name",
    "db.weaviate.collections.delete.name",
)  # fmt: skip
_COLLECTION_ENDS = (".collection_name", ".class_name", ".index_name", ".table_name")
_OPERATION = ("db.operation.name", "db.operation")
_STATEMENT = ("db.query.text", "db.statement")
_ADDRESS = ("server.address", "net.peer.name", "net.sock.peer.addr", "network.peer.address")
_PORT = ("server.port", "net.peer.port", "network.peer.port")
_FAMILIES = {
    "postgresql": "postgres", "chromadb": "chroma", "mongo": "mongodb", "other_sql": "sql", "aws.dynamodb": "dynamodb",
    "microsoft.sql_server": "mssql", "oracle.db": "oracle", "azure.cosmosdb": "cosmosdb", "gcp.spanner": "spanner",
}  # fmt: skip
_SQL = words("sqlite postgres mysql mariadb mssql oracle sql cockroachdb spanner duckdb redshift snowflake")
_REDIS_READS = words(
    "get mget exists ttl pttl type keys scan strlen getrange getbit bitcount hget hmget hgetall hkeys hvals hlen hscan "
    "hexists lrange lindex llen smembers sismember scard sscan srandmember sinter sunion sdiff zrange zrangebyscore "
    "zrevrange zrevrangebyscore zscore zcard zcount zrank zscan xrange xrevrange xread xreadgroup xlen xinfo dump "
    "randomkey object json.get json.mget ft.search ft.aggregate ft.info geosearch dbsize"
)
_REDIS_NEITHER = words(
    "ping hello auth select client info config command multi exec discard watch unwatch echo quit subscribe "
    "unsubscribe psubscribe punsubscribe cluster readonly wait role time evalsha_ro memory"
)
_MONGO_NEITHER = words("hello ismaster ping buildinfo endsessions getparameter listcollections listdatabases")
_WRITE_WORDS = words(
    "add upsert insert update delete remove drop create put set save write upload modify replace overwrite truncate "
    "merge index reindex bulk append push store persist clear reset recreate flush restore import load patch "
    "findandmodify copy rename publish send alter"
)
_READ_WORDS = words(
    "get query search find select scroll peek fetch recommend discover count list retrieve scan read aggregate "
    "describe distinct getmore exists head msearch mget explain similarity lookup validate receive poll process"
)
_STATEMENT_CHARACTERS = 10_000  # that are looked at
_NEITHER_SPANS = frozenset({"connect", "db.weaviate.collections.get", "db.weaviate.schema.get", "cursor", "ping"})
_AWS_STORES = {"DynamoDB": "dynamodb", "S3": "s3", "S3Vectors": "s3-vectors"}
_MESSAGES: dict[str, Access] = {
    "publish": "write", "send": "write", "create": "write", "receive": "read", "process": "read", "deliver": "read",
    "poll": "read",
}  # fmt: skip

Touched = tuple[tuple[StoreName, Access], ...]


def touched(span: Span) -> Touched | None:
    """Return the stores that a span reads and writes; empty if it does neither; null if it is no span of a store."""
    attributes = span.attributes
    system = _text(attributes, _SYSTEM)
    if system:
        return _database(span, _family(system))
    service = str(attributes.get("rpc.service", ""))
    if service in _AWS_STORES:
        return _aws(attributes, _AWS_STORES[service], str(attributes.get("rpc.method", "")))
    messaging = attributes.get("messaging.system")
    if messaging:
        return _messages(span, str(messaging))
    return None


def statement_of(span: Span) -> str:
    """Return the query text of a span, or nothing."""
    return _text(span.attributes, _STATEMENT)[:_STATEMENT_CHARACTERS]


def retrieved(span: Span) -> Touched | None:
    """Return the store of a retriever's span: the least that is known where no span below it names the store."""
    attributes = span.attributes
    source = attributes.get("gen_ai.data_source.id")
    if source:
        provider = attributes.get("gen_ai.provider.name") or attributes.get("gen_ai.system") or "provider"
        return ((StoreName(f"{provider}-data-source", collection=str(source)), "read"),)
    retriever = str(attributes.get("openinference.span.kind", "")).upper() == "RETRIEVER"
    if retriever or str(attributes.get("gen_ai.operation.name")) in {"vector_db_retrieve", "retrieval"}:
        name = span.name.removeprefix("vector_db_retrieve ").removeprefix("retrieval ").strip()
        return ((StoreName("retriever", collection=name), "read"),)
    return None


def _database(span: Span, family: str) -> Touched:
    attributes = span.attributes
    namespace, collection = _text(attributes, _NAMESPACE), _collection(attributes)
    store = StoreName(family, namespace, collection, _address(attributes))
    statement = statement_of(span)
    if family in _SQL:
        tables = tables_of(statement) if statement else None
        if tables is not None:
            return tuple(
                (StoreName(family, namespace, name or collection, store.address), verb) for verb, name in sorted(tables)
            )
    access = _access(span, family, statement)
    return () if access is None else ((store, access),)


def _access(span: Span, family: str, statement: str) -> Access | None:
    """Return what an operation does; null if it neither reads nor writes."""
    operation = _text(span.attributes, _OPERATION)
    if family == "redis":
        return _redis(
            [line.split(maxsplit=1)[0] for line in (statement or operation or span.name).splitlines() if line.strip()]
        )
    if family in _SQL:
        verb = verb_of(first_word(operation or span.name))
        return None if verb == "neither" or span.name in _NEITHER_SPANS else verb or "unknown"
    if family == "mongodb" and (operation or span.name.rpartition(".")[2]).lower() in _MONGO_NEITHER:
        return None
    if span.name in _NEITHER_SPANS:
        return None
    return by_words(operation) or by_words(span.name) or "unknown"


def by_words(name: str) -> Access | None:
    """Return what the words of a name say: "batch_update_points" writes, "hybridSearch" reads."""
    parts = {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)} | {name.lower()}
    return "write" if parts & _WRITE_WORDS else "read" if parts & _READ_WORDS else None


def _redis(commands: Iterable[str]) -> Access | None:
    kinds = {_redis_command(command.lower()) for command in commands}
    return "write" if "write" in kinds else "read" if "read" in kinds else None


def _redis_command(command: str) -> Access | None:
    if command in _REDIS_NEITHER:
        return None
    return "read" if command in _REDIS_READS else "write"


def _aws(attributes: Mapping[str, Any], family: str, method: str) -> Touched:
    names = attributes.get("aws.dynamodb.table_names") or attributes.get("aws.s3.bucket") or ""
    listed = names if isinstance(names, list) else [names]
    access = by_words(method) or "unknown"
    return tuple((StoreName(family, collection=str(name)), access) for name in listed)


def _messages(span: Span, system: str) -> Touched | None:
    attributes = span.attributes
    operation = _text(attributes, ("messaging.operation.type", "messaging.operation", "messaging.operation.name"))
    access = _MESSAGES.get(operation) or ("write" if span.client else None)
    if access is None:
        return None
    name = _text(attributes, ("messaging.destination.name", "messaging.destination", "messaging.url"))
    return ((StoreName(_family(system), collection=name, address=_address(attributes)), access),)


def _family(system: str) -> str:
    name = system.lower()
    return _FAMILIES.get(name, name)


def _collection(attributes: Mapping[str, Any]) -> str:
    named = _text(attributes, _COLLECTION)
    if not named:
        named = next((str(value) for key, value in attributes.items() if key.endswith(_COLLECTION_ENDS) and value), "")
    return named.strip('"')


def _address(attributes: Mapping[str, Any]) -> str:
    host, port = _text(attributes, _ADDRESS), _text(attributes, _PORT)
    return f"{host}:{port}" if host and port else host


def _text(attributes: Mapping[str, Any], names: Iterable[str]) -> str:
    """Return the first of these attributes that is there and not empty, as text."""
    for name in names:
        value = attributes.get(name)
        if value is not None and value != "":
            return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return ""
