"""Statements on an older schema: what a read-only session uses until a writer expands the schema.

A migration only adds tables and columns, so a statement works on an older schema where a common table expression of
the same name takes the place of each table that lacks something.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache

from kedge.backends.postgres.link import Rewrite

_COMMENT = re.compile(r"--.*")
_TABLE = re.compile(r"CREATE TABLE kedge\.(\w+) \(\s*\n(.*?)\n\)", re.DOTALL)
_ADDED = re.compile(r"ALTER TABLE kedge\.(\w+) ADD COLUMN (\w+) ([^;]+)")
_SEED = re.compile(r"^INSERT INTO kedge\.(\w+) \(([\w, ]+)\)\s+((?:VALUES|SELECT)\b[^;]*);", re.MULTILINE)
_COLUMN = re.compile(r"\s*([a-z]\w*)\s+([^,]+)")
_TYPE = re.compile(r"\s+(?:COLLATE|NOT|NULL|DEFAULT|PRIMARY|UNIQUE|CHECK|GENERATED|REFERENCES)\b.*", re.DOTALL)
_DEFAULT = re.compile(r"(?<!BY )\bDEFAULT\s+('[^']*'|\S+)")
_WITH = re.compile(r"\s*WITH\s+(RECURSIVE\s+)?", re.IGNORECASE)


def additions(scripts: Sequence[str]) -> dict[str, str]:
    """Return, by table, a query that has the columns which these later migrations add, and the rows of new tables."""
    made: dict[str, str] = {}
    kinds: dict[str, dict[str, str]] = {}  # of the columns of new tables
    added: dict[str, list[str]] = {}
    for script in scripts:
        text = _COMMENT.sub("", script)
        for table, columns in _TABLE.findall(text):
            named = (_COLUMN.match(column) for column in re.split(r",\s*\n", columns))
            kinds[table] = {found[1]: found[2] for found in named if found is not None}
            made[table] = f"SELECT {_row(kinds[table], {})} WHERE FALSE"
        for table, columns, rows in _SEED.findall(text):
            if table in kinds:
                given = {name: name for name in columns.split(", ")}
                made[table] += f" UNION ALL SELECT {_row(kinds[table], given)} FROM ({rows}) given ({columns})"  # noqa: S608 - as below
        for table, column, kind in _ADDED.findall(text):
            added.setdefault(table, []).append(_row({column: kind}, {}))
    for table, values in added.items():
        source = f"({made[table]}) t" if table in made else f"kedge.{table} t"
        made[table] = f"SELECT t.*, {', '.join(values)} FROM {source}"  # noqa: S608 - from our own schema
    return made


def _row(kinds: Mapping[str, str], given: Mapping[str, str]) -> str:
    """Return the expressions of a row: what is given, else the columns' defaults."""
    return ", ".join(
        f"CAST({given.get(name) or _default(kind)} AS {_type(kind)}) AS {name}" for name, kind in kinds.items()
    )


def _default(kind: str) -> str:
    found = _DEFAULT.search(kind)
    return "NULL" if found is None else found[1]


def _type(kind: str) -> str:
    return _TYPE.sub("", kind).strip()


def rewriter(scripts: Sequence[str]) -> Rewrite:
    """Return a function that rewrites a statement for a schema that these later migrations have not reached."""
    tables = additions(scripts)
    names = re.compile(rf"\bkedge\.({'|'.join(tables) or '(?!)'})\b")

    @cache
    def rewrite(sql: bytes) -> bytes:
        text = sql.decode()
        used = sorted(set(names.findall(text)))
        if not used:
            return sql
        parts = ", ".join(f"{table} AS NOT MATERIALIZED ({tables[table]})" for table in used)
        rest = names.sub(r"\1", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--")))
        begun = _WITH.match(rest)
        if begun is None:
            return f"WITH {parts} {rest}".encode()
        return f"WITH {begun[1] or ''}{parts}, {rest[begun.end() :]}".encode()

    return rewrite
