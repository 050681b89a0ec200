"""fsck of a PostgreSQL database: read-only checks of every invariant."""

import msgspec

from kedge.backends.postgres.fsck.control import check_control, check_deployments, check_sessions
from kedge.backends.postgres.fsck.inspection import SQL, Inspection
from kedge.backends.postgres.fsck.keys import check_keys, check_lineages, check_states
from kedge.backends.postgres.fsck.writes import check_reads, check_writes
from kedge.backends.postgres.link import Link
from kedge.errors import KedgeError
from kedge.model.fsck.inspection import FsckReport, Progress

# What a check raises on damaged rows: it ends, the others go on.
_UNREADABLE = (msgspec.MsgspecError, KedgeError, ValueError, TypeError, LookupError, OverflowError)
_BY_WINDOWS = "check_write_refers"
_LONG = {"check_counter_sums", "check_counter_states", "check_vector_rows", "check_journal_seq_not_drawn"}


def inspect(link: Link, *, full: bool, progress: Progress | None) -> FsckReport:
    """Check a database in one read transaction, and write nothing."""
    inspection = Inspection(link, full=full, progress=progress)
    for check in (
        check_control,
        check_deployments,
        check_sessions,
        check_lineages,
        check_states,
        check_writes,
        check_keys,
        check_reads,
        _check_by_statements,
    ):
        try:
            check(inspection)
        except _UNREADABLE as error:
            inspection.report_unreadable(check.__name__, error)
    return inspection.result()


def _check_by_statements(inspection: Inspection) -> None:
    """Run the checks that are one statement; a sample leaves out those of long tables."""
    for name in SQL:
        if name == _BY_WINDOWS:
            for window in inspection.windows():
                inspection.ask(name, *window)
        elif name.startswith("check_") and (inspection.whole or name not in _LONG):
            inspection.ask(name)
