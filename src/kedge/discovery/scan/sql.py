"""SQL statements: whether a text changes data, and of which table."""

from __future__ import annotations

import re
from dataclasses import dataclass

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_NAME = r"[\"'`\[]?(?P<table>[\w.{}$-]+(?:[\"`\]]?\.[\"`\[]?[\w.{}$-]+)?)"
_CHANGES = re.compile(
    r"\b(?:insert\s+(?:or\s+\w+\s+)?into|replace\s+into|merge\s+into|update(?:\s+only)?|delete\s+from"
    r"|truncate(?:\s+table)?(?:\s+only)?"
    r"|drop\s+(?:table|schema|database|collection|keyspace|graph)(?:\s+if\s+exists)?|copy)\s+" + _NAME,
    re.IGNORECASE,
)
_STARTS = re.compile(r"\s*(?:\(\s*)?(?P<verb>[a-z]+)", re.IGNORECASE)
_VERBS = {"insert", "replace", "merge", "update", "delete", "truncate", "drop", "copy", "with", "begin", "do", "set"}
_GRAPH = re.compile(r"\b(?:create|merge|delete|detach\s+delete|set|remove|apoc\.(?:refactor|atomic))\b", re.IGNORECASE)
_GRAPH_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_GRAPH_QUOTED = re.compile(r"/\*.*?\*/|//[^\n]*|'[^'\n]*'|\"[^\"\n]*\"|`[^`\n]*`", re.DOTALL)
_GRAPH_INNER = re.compile(r"\bapoc\.(?:periodic|cypher)\b", re.IGNORECASE)
_BUILT = re.compile(r"(?:^|[.:])(?P<verb>insert|update|delete|merge|truncate|drop)\(\)", re.IGNORECASE)
_COMMANDS = re.compile(
    r"[.:](?:(?:Put|Update|Delete)(?:Item|Objects?|Message|MessageBatch)?|DeleteTable|BatchWrite(?:Item)?"
    r"|TransactWrite(?:Items)?|CopyObject|CompleteMultipartUpload|SendMessage(?:Batch)?|PurgeQueue|StartIngestionJob"
    r"|(?:Ingest|Delete)KnowledgeBaseDocuments)Command\(\)$"
)
_SAVER_TABLES = re.compile(r"^(?:\w+\.)?(?:checkpoints|checkpoint_(?:blobs|writes|migrations)|writes)$")
_STORE_TABLES = re.compile(r"^(?:\w+\.)?(?:store|store_vectors)$")


@dataclass(frozen=True, slots=True)
class Change:
    """A change of data that a statement makes; `table` is "" where it is not known."""

    table: str


def change_in(text: str) -> Change | None:
    """Return the change that a statement makes, or None.

    >>> change_in("INSERT INTO notes VALUES (1)")
    Change(table='notes')
    >>> change_in("SELECT * FROM notes FOR UPDATE") is None
    True
    >>> change_in("WITH old AS (SELECT 1) DELETE FROM {} WHERE id IN old")
    Change(table='')
    """
    bare = _COMMENT.sub(" ", text)
    for statement in bare.split(";"):
        start = _STARTS.match(statement)
        if start is None or start["verb"].lower() not in _VERBS:
            continue
        match = _CHANGES.search(statement)
        if match is None or (start["verb"].lower() == "copy" and re.search(r"\bto\b", statement, re.IGNORECASE)):
            continue
        table = match["table"].strip("\"'`[]")
        return Change("" if "{}" in table else table)
    return None


def graph_change_in(text: str) -> bool:
    """Whether a Cypher statement changes the graph. Procedures of APOC run statements that stand in strings.

    >>> graph_change_in("MATCH (n) SET n.a = 'x'"), graph_change_in("MATCH (n) WHERE n.a = 'SET' RETURN n // delete")
    (True, False)
    >>> graph_change_in("CALL apoc.periodic.iterate('MATCH (n) RETURN n', 'DETACH DELETE n', {})")
    True
    """
    quiet = _GRAPH_COMMENT if _GRAPH_INNER.search(text) else _GRAPH_QUOTED
    return _GRAPH.search(quiet.sub(" ", text)) is not None


def built_change(path: str) -> bool:
    """Whether a statement or command that is built by calls changes data: `sqlalchemy.insert().values()`.

    >>> built_change("@aws-sdk/client-s3:PutObjectCommand()"), built_change("@aws-sdk/client-s3:GetObjectCommand()")
    (True, False)
    >>> built_change("app.queries().replace()")  # most often that of a text
    False
    """
    return _BUILT.search(path) is not None or _COMMANDS.search(path) is not None


def saver_store(store: str, table: str) -> str:
    """Return the family of a table: that of a checkpointer or LangGraph store where the table is one of theirs."""
    if _SAVER_TABLES.match(table) and table != "writes":
        return f"lg-saver:{store}"
    return f"lg-store:{store}" if _STORE_TABLES.match(table) and table != "store" else store
