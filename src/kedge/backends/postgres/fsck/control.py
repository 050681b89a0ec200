"""Checks of the control record and its log, deployments and sessions."""

from kedge.backends.postgres import unfinished
from kedge.backends.postgres.fsck.inspection import SQL, Inspection
from kedge.model.fsck import control
from kedge.model.upgrade import FEATURES_SINCE


def check_control(inspection: Inspection) -> None:
    """Check the control record and its log."""
    link = inspection.link
    control.check_control(inspection, link.rows(SQL["control"]), link.rows(SQL["log"]))
    fence = link.row(SQL["min_writer"])
    if fence is not None and int(fence[0]) >= FEATURES_SINCE:
        control.check_unfinished(inspection, unfinished.unfinished_in(link), unfinished.from_log(link))


def check_deployments(inspection: Inspection) -> None:
    """Check the table of deployments."""
    versions = {(name, label.decode()): digest for name, label, digest in inspection.link.rows(SQL["versions"])}
    control.check_deployments(inspection, inspection.link.rows(SQL["deployments"]), versions)


def check_sessions(inspection: Inspection) -> None:
    """Check the table of sessions."""
    control.check_sessions(inspection, inspection.link.rows(SQL["sessions"]))
