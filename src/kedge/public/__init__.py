"""The public names of the package, all of them. `kedge` imports this module when one of them is first used."""

from kedge.bulk import ExportReport, LoadReport
from kedge.bulk.backfill import BackfillReport
from kedge.deployments.derivation import DerivedFrom
from kedge.deployments.drainage import SessionInfo, SessionsRefreshed
from kedge.deployments.lifecycle import Deployment, PromoteReport
from kedge.deployments.session_changes import Rewind, SessionFork
from kedge.errors import (
    ApprovalNeeded,
    Arriving,
    ArtifactChanged,
    BatchOpen,
    Busy,
    ConfirmationNeeded,
    Conflict,
    Corruption,
    DamagedSegment,
    DuplicateName,
    ExpectationFailed,
    Frozen,
    HoldInTheWay,
    IdempotencyMismatch,
    IllegalTransition,
    InvalidValue,
    InvalidVector,
    KedgeError,
    LeaseExpired,
    Misuse,
    Moved,
    NewerSchema,
    NoSession,
    NotAKedgeDatabase,
    NotEmpty,
    NotPermitted,
    NotSeen,
    OtherCode,
    OutcomeUnknown,
    PastUnreadable,
    PeerRefused,
    PilotRuns,
    ReadOnly,
    Retryable,
    RolledBack,
    SchemaRefused,
    SessionBegun,
    SettledMeanwhile,
    SnapshotInTheWay,
    StorageFull,
    SyncNeeded,
    TurnClosed,
    UnknownName,
    Unreachable,
    UntrustedHeaders,
)
from kedge.face import Kedge, Optimized
from kedge.fleet.member import Member
from kedge.fleet.roster import MemberStatus
from kedge.guard.stopping import ReleaseReport, StopReport
from kedge.migration.compare import Difference, StoreDiff
from kedge.migration.migrate import MoveReport
from kedge.model import carriers
from kedge.model.artifacts import Artifact
from kedge.model.codec import Codec
from kedge.model.control import Level, Status
from kedge.model.fleet import Held
from kedge.model.fsck.inspection import Finding, FsckReport
from kedge.model.ladder import LevelEntry
from kedge.model.names import escape_name, unescape_name
from kedge.model.reconcile import Reconciled
from kedge.model.requests import LevelRequest
from kedge.model.retention import RetentionPolicy
from kedge.model.upgrade import SchemaState, UpgradeReport
from kedge.open import compare_stores, migrate_store, open, release, stop
from kedge.ports.control import Snapshot
from kedge.ports.metrics import Tally
from kedge.ports.reconciler import Reconciler
from kedge.ports.resolver import Resolver
from kedge.ports.vectors import Collection, Reclaimed
from kedge.reconcilers.http import HttpReconciler
from kedge.reconcilers.shell import ShellReconciler
from kedge.recovery.attribution import Unattributed
from kedge.recovery.converge import Convergence, Laggard
from kedge.recovery.plan import RollbackPlan, StoreSum
from kedge.recovery.purge import PurgeReport
from kedge.recovery.recognition import Recognition, RecordedStop
from kedge.recovery.reinstate import ReinstateReport
from kedge.recovery.replay import ReplayInput, ReplayReport
from kedge.recovery.retention import ReclaimReport
from kedge.recovery.rollback_report import RollbackReport
from kedge.recovery.verify import Indicators
from kedge.reports.diff import Diff, KeyChange, SpaceDiff
from kedge.reports.disk import StoreUse
from kedge.reports.status import SystemStatus, Unfinished
from kedge.stores.batches import VectorBatches, VectorRows
from kedge.stores.keyed import Entry
from kedge.stores.memory import Message
from kedge.stores.search import Hit, Hits
from kedge.stores.vectors import VectorRow
from kedge.turns.code_check import OtherCodeWarning
from kedge.turns.current import bind
from kedge.turns.hosts import TurnSource, add_turn_source, agent, current_agent
from kedge.turns.name_check import AttributionWarning
from kedge.turns.observing import ObservationRefusedWarning
from kedge.turns.peers import UnknownPeerWarning
from kedge.turns.permits import Permit
from kedge.turns.turn import Turn, current_turn
from kedge.turns.view import ReadView, UntrackedReadWarning
from kedge.turns.wrap import wrap

__all__ = [
    "ApprovalNeeded", "Arriving", "Artifact", "ArtifactChanged", "AttributionWarning", "BackfillReport", "BatchOpen",
    "Busy", "Codec", "Collection", "ConfirmationNeeded", "Conflict", "Convergence", "Corruption", "DamagedSegment",
    "Deployment", "DerivedFrom", "Diff", "Difference", "DuplicateName", "Entry", "ExpectationFailed", "ExportReport",
    "Finding", "Frozen", "FsckReport", "Held", "Hit", "Hits", "HoldInTheWay", "HttpReconciler", "IdempotencyMismatch",
    "IllegalTransition", "Indicators", "InvalidValue", "InvalidVector", "Kedge", "KedgeError", "KeyChange", "Laggard",
    "LeaseExpired", "Level", "LevelEntry", "LevelRequest", "LoadReport", "Member", "MemberStatus", "Message", "Misuse",
    "MoveReport", "Moved", "NewerSchema", "NoSession", "NotAKedgeDatabase", "NotEmpty", "NotPermitted", "NotSeen",
    "ObservationRefusedWarning", "Optimized", "OtherCode", "OtherCodeWarning", "OutcomeUnknown", "PastUnreadable",
    "PeerRefused", "Permit", "PilotRuns", "PromoteReport", "PurgeReport", "ReadOnly", "ReadView", "ReclaimReport",
    "Reclaimed", "Recognition", "Reconciled", "Reconciler", "RecordedStop", "ReinstateReport", "ReleaseReport",
    "ReplayInput", "ReplayReport", "Resolver", "RetentionPolicy", "Retryable", "Rewind", "RollbackPlan",
    "RollbackReport", "RolledBack", "SchemaRefused", "SchemaState", "SessionBegun", "SessionFork", "SessionInfo",
    "SessionsRefreshed", "SettledMeanwhile", "ShellReconciler", "Snapshot", "SnapshotInTheWay", "SpaceDiff", "Status",
    "StopReport", "StorageFull", "StoreDiff", "StoreSum", "StoreUse", "SyncNeeded", "SystemStatus", "Tally", "Turn",
    "TurnClosed", "TurnSource", "Unattributed", "Unfinished", "UnknownName", "UnknownPeerWarning", "Unreachable",
    "UntrackedReadWarning", "UntrustedHeaders", "UpgradeReport", "VectorBatches", "VectorRow", "VectorRows",
    "add_turn_source", "agent", "bind", "carriers", "compare_stores", "current_agent", "current_turn", "escape_name",
    "migrate_store", "open", "release", "stop", "unescape_name", "wrap",
]  # fmt: skip
