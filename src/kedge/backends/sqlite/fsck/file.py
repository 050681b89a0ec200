"""Checks of the database file: SQLite's own, the schema, and the keys."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing

from kedge.backends.sqlite.file_kind import APPLICATION_ID
from kedge.backends.sqlite.fsck.inspection import SQL, Inspection
from kedge.backends.sqlite.schema import migrations, schema_of

_SECRET_BYTES = 32


def check_file(inspection: Inspection) -> None:
    """Run SQLite's check of its pages; with `full`, also of every index against its table."""
    pragma = "integrity_check" if inspection.full else "quick_check"
    for (message,) in inspection.connection.execute(f"PRAGMA {pragma}(100)"):
        if message != "ok":
            inspection.report("sqlite", pragma, message)
    inspection.count("pages", inspection.connection.execute("PRAGMA page_count").fetchone()[0])


def check_schema(inspection: Inspection) -> None:
    """Compare the schema with that of a new database of the same number."""
    latest = len(migrations())
    number = schema_of(inspection.connection)
    if not 0 < number <= latest:
        inspection.report("schema", "user_version", f"is {number}, not {latest}")
        number = latest
    elif number < latest:
        inspection.note("schema", "user_version", f"is {number}, and this Kedge's is {latest}; run `kedge upgrade`")
    is_sealed = inspection.connection.execute("SELECT 1 FROM meta WHERE name = 'moved'").fetchone() is not None
    found = _schema(inspection.connection)
    if is_sealed:
        found = {name: sql for name, sql in found.items() if not name.startswith("trigger moved_")}
    wanted = _fresh_schema(number)
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            inspection.report("schema", name, "is missing")
        elif name not in wanted:
            inspection.report("schema", name, "is not Kedge's")
        elif found[name] != wanted[name]:
            inspection.report("schema", name, "differs from that of a new database")
    application = inspection.connection.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        inspection.report("schema", "application_id", f"is {application}, not {APPLICATION_ID}")
    inspection.count("schema", len(wanted))


def check_meta(inspection: Inspection) -> None:
    """Check the id of the database, and the key that signs headers."""
    values = dict(inspection.connection.execute("SELECT name, value FROM meta").fetchall())
    if not values.get("database_id"):
        inspection.report("meta", "database_id", "is missing")
    if len(values.get("header_key", b"")) != _SECRET_BYTES:
        inspection.report("meta", "header_key", f"is missing, or has not {_SECRET_BYTES} bytes")


def _schema(connection: sqlite3.Connection) -> Mapping[str, str]:
    return dict(connection.execute(SQL["schema"]).fetchall())


def _fresh_schema(number: int) -> Mapping[str, str]:
    with closing(sqlite3.connect(":memory:")) as connection:
        for script in migrations()[:number]:
            connection.executescript(script)
        return _schema(connection)
