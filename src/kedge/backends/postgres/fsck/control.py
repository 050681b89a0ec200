"""Checks of the control record and its log, deployments and sessions."""

from kedge.backends.postgres.fsck.inspection import SQL, Inspection
from kedge.model.fsck import control


def check_control(inspection: Inspection) -> None:
    """Check the control record and its log."""
    control.check_control(inspection, inspection.link.rows(SQL["control"]), inspection.link.rows(SQL["log"]))


def check_deployments(inspection: Inspection) -> None:
    """Check the table of deployments."""
    versions = {(name, label.decode()): digest for name, label, digest in inspection.link.rows(SQL["versions"])}
    control.check_deployments(inspection, inspection.link.rows(SQL["deployments"]), versions)


def check_sessions(inspection: Inspection) -> None:
    """Check the table of sessions."""
    control.check_sessions(inspection, inspection.link.rows(SQL["sessions"]))
