"""The drill: rehearse a bad deployment and its rollback, and verify the result. Needs no network and no keys."""

from kedge.drill.in_place import rehearse_in_place
from kedge.drill.report import print_report
from kedge.drill.results import HelpdeskReport, InPlaceReport, to_document
from kedge.drill.run import rehearse_helpdesk

__all__ = ["HelpdeskReport", "InPlaceReport", "print_report", "rehearse_helpdesk", "rehearse_in_place", "to_document"]
