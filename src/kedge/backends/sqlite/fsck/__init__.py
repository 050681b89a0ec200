"""fsck of a SQLite database: read-only checks of every invariant on disk."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec

from kedge.backends.sqlite.database import FORK_GATE, check_not_cut
from kedge.backends.sqlite.fsck.control import check_control, check_deployments, check_sessions, check_snapshots
from kedge.backends.sqlite.fsck.file import check_file, check_meta, check_schema
from kedge.backends.sqlite.fsck.heads import check_counters, check_heads
from kedge.backends.sqlite.fsck.inspection import Inspection
from kedge.backends.sqlite.fsck.references import check_cache_and_metrics, check_lineages, check_turns
from kedge.backends.sqlite.fsck.segment_files import SegmentFiles
from kedge.backends.sqlite.fsck.vectors import check_rows, check_states
from kedge.backends.sqlite.fsck.writes import check_order, check_writes
from kedge.backends.sqlite.schema import migrations, overlay, schema_of
from kedge.errors import KedgeError
from kedge.model.fsck.inspection import FsckReport, Progress
from kedge.model.upgrade import newer_schema

_BUSY_SECONDS = 60.0
# What a check raises on damaged rows: it ends, the others go on.
_UNREADABLE = (sqlite3.Error, msgspec.MsgspecError, KedgeError, ValueError, TypeError, LookupError, OverflowError)


def inspect(path: Path, folder: Path, *, full: bool, progress: Progress | None) -> FsckReport:
    """Check a database file and its folder of segments, in one read transaction, and write nothing."""
    file = os.path.realpath(path)
    with FORK_GATE.holding(file), closing(_connect(path)) as connection:
        connection.execute("BEGIN")
        inspection = Inspection(connection, folder, full=full, progress=progress)
        with SegmentFiles(inspection, lambda: _connect(path)) as files:
            for check in _checks(inspection, files):
                _run(inspection, check)
        return inspection.result()


def _checks(inspection: Inspection, files: SegmentFiles) -> list[Callable[[Inspection], None]]:
    def check_vectors(inspection: Inspection) -> None:
        check_states(inspection)
        check_rows(inspection, files)

    def check_segments(_: Inspection) -> None:
        files.check()

    def check_journal(inspection: Inspection) -> None:
        check_writes(inspection, files)

    def load(_: Inspection) -> None:
        inspection.load()

    return [
        load,
        check_file,
        check_schema,
        check_meta,
        check_control,
        check_deployments,
        check_snapshots,
        check_sessions,
        check_lineages,
        check_order,
        check_segments,
        check_journal,
        check_heads,
        check_counters,
        check_vectors,
        check_turns,
        check_cache_and_metrics,
    ]


def _run(inspection: Inspection, check: Callable[[Inspection], None]) -> None:
    try:
        check(inspection)
    except _UNREADABLE as error:
        inspection.report_unreadable(check.__name__, error)


def _connect(path: Path) -> sqlite3.Connection:
    """Return a connection that cannot write; text that is not UTF-8 has its bytes escaped."""
    check_not_cut(os.path.realpath(path))
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.text_factory = lambda raw: raw.decode("utf-8", "backslashreplace")
    try:
        _adapt(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _adapt(path: Path, connection: sqlite3.Connection) -> None:
    """Let the checks read an older schema; raise `NewerSchema` where another process has expanded it since."""
    try:
        number, latest = schema_of(connection), len(migrations())
    except sqlite3.DatabaseError:
        return  # it is damaged: the checks say where
    if number > latest:
        raise newer_schema(str(path), number, latest)
    if 0 < number < latest:
        for statement in overlay(connection):
            connection.execute(statement)
