"""Tables that an SQL statement reads and writes, found by its keywords."""

from __future__ import annotations

import re
from typing import Literal

from kedge.discovery.traces.words import words

Verb = Literal["read", "write"]

_QUOTED_OR_COMMENT = re.compile(r"--[^\n]*|/\*.*?(?:\*/|\Z)|'(?:[^']|'')*(?:'|\Z)", re.DOTALL)
_PART = r'(?:"[^"]+"|`[^`]+`|\[[^\]]+\]|[\w$]+)'
_NAME = rf"({_PART}(?:\s*\.\s*{_PART})*)"
_WRITE = re.compile(
    rf"\b(?:INSERT\s+(?:OR\s+\w+\s+)?INTO|REPLACE\s+INTO|MERGE\s+INTO|DELETE\s+FROM(?:\s+ONLY)?|TRUNCATE(?:\s+TABLE)?"
    rf"|(?<!FOR\s)(?<!DO\s)UPDATE(?:\s+OR\s+\w+)?(?:\s+ONLY)?"
    rf"|CREATE\s+(?:(?:TEMP|TEMPORARY|UNLOGGED|VIRTUAL)\s+)?TABLE(?:\s+IF\s+NOT\s+EXISTS)?"
    rf"|(?:DROP|ALTER)\s+TABLE(?:\s+IF\s+EXISTS)?"
    rf"|(?:CREATE|DROP)\s+(?:UNIQUE\s+)?INDEX\b[^;(]*?\bON)\s+(?!SET\b){_NAME}",
    re.IGNORECASE,
)
_READ = re.compile(
    rf"\b(?:FROM|JOIN)\s+(?:ONLY\s+|LATERAL\s+)?{_NAME}((?:\s+(?:AS\s+)?\w+)?\s*,\s*{_NAME})*", re.IGNORECASE
)
_LISTED = re.compile(rf"\A{_NAME}(?:\s+(?:AS\s+)?\w+)?\s*,?\s*")
_COPY = re.compile(rf"\ACOPY\s+{_NAME}[^;]*?\b(FROM|TO)\b", re.IGNORECASE)
_CTE = re.compile(
    rf"(?:\bWITH\s+(?:RECURSIVE\s+)?|,\s*){_NAME}\s*(?:\([^)]*\)\s*)?AS\s+(?:(?:NOT\s+)?MATERIALIZED\s+)?\(",
    re.IGNORECASE,
)
_FIRST = re.compile(r"[A-Za-z]+")
_NEITHER = words(
    "begin commit rollback savepoint release start end set reset show pragma explain analyze vacuum attach detach use "
    "connect ping listen unlisten notify prepare deallocate discard lock close declare"
)
_READS = frozenset({"select", "with", "table", "values"})
_WRITES = words("insert update delete replace merge truncate create drop alter copy grant revoke comment")


def first_word(statement: str) -> str:
    """Return the first word of a statement after its comments, in lower case."""
    found = _FIRST.search(_QUOTED_OR_COMMENT.sub(" ", statement))
    return found.group().lower() if found else ""


def verb_of(word: str) -> Verb | Literal["neither"] | None:
    """Return what a statement with this first word does; null if it is no word of SQL."""
    return "write" if word in _WRITES else "read" if word in _READS else "neither" if word in _NEITHER else None


def tables_of(statement: str) -> frozenset[tuple[Verb, str]] | None:
    """Return which tables a statement reads and writes ("" for one that it does not name), or null if it is no SQL.

    Empty: it does neither, as BEGIN and PRAGMA. Names of common table expressions are left out.
    """
    text = _QUOTED_OR_COMMENT.sub(" ", statement)
    first = first_word(text)
    copied = _COPY.match(text.strip())
    if copied:
        return frozenset({("write" if copied.group(2).upper() == "FROM" else "read", _bare(copied.group(1)))})
    verb = verb_of(first)
    if verb is None or verb == "neither":
        return None if verb is None else frozenset()
    local = {_bare(name) for name in _CTE.findall(text)} if first == "with" else set()
    written = {_bare(match.group(1)) for match in _WRITE.finditer(text)}
    rest = _WRITE.sub(" ", text)
    read = {_bare(name) for match in _READ.finditer(rest) for name in _listed(match.group())} - local
    found: set[tuple[Verb, str]] = {("write", name) for name in written} | {("read", name) for name in read}
    if not found and (first in _WRITES or first in {"with", "table"}):
        found = {("write" if first in _WRITES else "read", "")}
    return frozenset(found)


def _listed(text: str) -> list[str]:
    """Return the names of a list of tables, as in `FROM a, b x`."""
    rest = re.sub(r"\A(?:FROM|JOIN)\s+(?:ONLY\s+|LATERAL\s+)?", "", text, flags=re.IGNORECASE)
    names = []
    while match := _LISTED.match(rest):
        names.append(match.group(1))
        rest = rest[match.end() :]
    return names


def _bare(name: str) -> str:
    """Return a name without quotes and spaces; one that is not quoted in lower case."""
    parts = re.findall(_PART, name)
    return ".".join(part[1:-1] if part[0] in '"`[' else part.lower() for part in parts)
