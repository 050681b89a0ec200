"""Checks of the control record and its log, deployments, snapshots and sessions."""

from kedge.backends.sqlite import unfinished
from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.fsck.inspection import SQL, Inspection
from kedge.model.fsck import control
from kedge.model.upgrade import FEATURES_SINCE


def check_control(inspection: Inspection) -> None:
    """Check the control record and its log."""
    rows = inspection.connection.execute(SQL["control"]).fetchall()
    control.check_control(inspection, rows, inspection.connection.execute(SQL["log"]))
    if Database.min_writer(inspection.connection) >= FEATURES_SINCE:
        logged = unfinished.from_log(inspection.connection)
        control.check_unfinished(inspection, unfinished.unfinished_in(inspection.connection), logged)


def check_deployments(inspection: Inspection) -> None:
    """Check the table of deployments."""
    versions = {(name, version): d for name, version, d in inspection.connection.execute(SQL["versions"])}
    control.check_deployments(inspection, inspection.connection.execute(SQL["deployments"]).fetchall(), versions)


def check_snapshots(inspection: Inspection) -> None:
    """Check that every snapshot names an existing seq, with the epoch that it had."""
    for name, seq, epoch, deployment, actual in inspection.connection.execute(SQL["snapshots"]):
        inspection.count("snapshots")
        where = f"snapshot {name!r}"
        if not 0 <= seq <= inspection.last_seq:
            inspection.report("snapshot", where, f"names seq {seq}; the journal ends at {inspection.last_seq}")
        elif epoch != actual:
            inspection.report("snapshot", where, f"says epoch {epoch}; seq {seq} was written at epoch {actual}")
        if deployment is not None and deployment not in inspection.record.by_number:
            inspection.report("snapshot", where, f"belongs to deployment {deployment}, which is not revocable")


def check_sessions(inspection: Inspection) -> None:
    """Check the table of sessions, and that each has its entry in the control log."""
    rows = inspection.connection.execute(SQL["sessions"]).fetchall()
    control.check_sessions(inspection, (row[:3] for row in rows))
    for session, generation, _, seq, *begun, entry_epoch, entry_at, operation in rows:
        if [*begun, f"session:{session}:{generation}"] != [entry_epoch, entry_at, operation]:
            where = f"session {session!r} generation {generation}"
            inspection.report("session", where, f"the control log has no such entry at seq {seq}")
    for seq, operation in inspection.connection.execute(SQL["session_entries"]):
        inspection.report("session", f"control_log seq {seq}", f"{operation} has no row in the table of sessions")
