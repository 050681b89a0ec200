"""The drill: rehearse a bad deployment and its rollback, and verify the result. Needs no network and no keys."""

from kedge.drill.automatic import rehearse_automatically
from kedge.drill.in_place import rehearse_in_place
from kedge.drill.report import print_report
from kedge.drill.results import AutomaticReport, HelpdeskReport, InPlaceReport, to_document
from kedge.drill.run import rehearse_helpdesk
from kedge.drill.stop_text import evidence_text
from kedge.drill.stopping import StopDrillReport, rehearse_stop

__all__ = [
    "AutomaticReport", "HelpdeskReport", "InPlaceReport", "StopDrillReport", "evidence_text", "print_report",
    "rehearse_automatically", "rehearse_helpdesk", "rehearse_in_place", "rehearse_stop", "to_document",
]  # fmt: skip
