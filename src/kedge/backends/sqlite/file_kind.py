"""What a file is that is not a Kedge database, from its first bytes."""

import codecs
import sqlite3
from contextlib import closing
from pathlib import Path

APPLICATION_ID = 0x4B454447  # "KEDG"
DOORBELL = "-doorbell"  # suffix of the file beside a Kedge database that its processes touch
_SQLITE = b"SQLite format 3\0"
_ID_PLACE = slice(68, 72)  # of the application id in SQLite's header
_HEAD_BYTES = 4096
_TABLES_SHOWN = 3
_MAGIC = (
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG", "a PNG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"(\xb5/\xfd", "a Zstandard archive"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"\x93NUMPY", "a NumPy file"),
    (b"\x7fELF", "a program"),
    (b"PGDMP", "a PostgreSQL dump"),
)


def describe_file(path: Path) -> str:
    """Return what a file is: "a text file", "a JPEG image"; "" if it is a damaged Kedge database, or unreadable."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return ""
    is_ours = head[_ID_PLACE] == APPLICATION_ID.to_bytes(4, "big") or path.with_name(path.name + DOORBELL).exists()
    if is_ours or head.startswith(_SQLITE):
        return ""
    named = next((name for magic, name in _MAGIC if head.startswith(magic)), None)
    if named is not None:
        return named
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return "a file of an unknown format"
    return "a text file" if all(c.isprintable() or c.isspace() for c in text) else "a file of an unknown format"


def describe_tables(connection: sqlite3.Connection) -> str:
    """Return the first tables of another program's database, as " (tables: a, b, …)"."""
    with closing(connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")) as found:
        names = [str(name) for (name,) in found.fetchmany(_TABLES_SHOWN + 1)]
    more = ", …" if len(names) > _TABLES_SHOWN else ""
    return f" (tables: {', '.join(names[:_TABLES_SHOWN])}{more})" if names else ""
