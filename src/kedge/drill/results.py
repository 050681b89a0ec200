"""Results of a drill: the fields of its report, which are also its stable JSON document."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

SHAPE = 1


class Check(msgspec.Struct, frozen=True):
    """One check. `name` is stable, `claim` is text for people, `detail` is what was measured."""

    name: str
    claim: str
    passed: bool
    detail: str


class Quality(msgspec.Struct, frozen=True):
    """How many answers named the right document, here and for the same questions in a twin without the release."""

    when: str
    who: str
    questions: int
    right: int
    right_in_twin: int | None = None

    @property
    def share(self) -> float:
        """The share of right answers, 0 where nothing was asked."""
        return self.right / self.questions if self.questions else 0.0

    @property
    def share_in_twin(self) -> float | None:
        """The share of right answers in the twin, None where it was not asked."""
        return None if self.right_in_twin is None else self.right_in_twin / max(1, self.questions)


class StoreOutcome(msgspec.Struct, frozen=True):
    """Effect of the rollback on one store, by key, in the view of a session inside the release."""

    store: str
    vanished: int
    fell_back: int
    came_back: int
    stayed: int
    contaminated_writes: int


class Contamination(msgspec.Struct, frozen=True):
    """Contaminated turns and writes of one agent."""

    agent: str
    in_release: bool
    turns: int
    writes: int


class Proof(msgspec.Struct, frozen=True):
    """A comparison of all visible places: how many were compared, and how many differ.

    `left_out` places are outside the guarantee; `left_out_equal` of them are equal nevertheless.
    """

    compared: int
    differ: int
    left_out: int
    left_out_equal: int
    examples: list[str]


class HelpdeskReport(msgspec.Struct, frozen=True):
    """Report of the helpdesk drill. Times are seconds."""

    documents: int
    sessions: int
    canary_sessions: int
    questions: int
    turns: int
    processes: int
    threads: int
    release: str
    weight: float
    python: str
    seconds: float
    quality: list[Quality]
    contamination: list[Contamination]
    stores: list[StoreOutcome]
    plan_seconds: float
    rollback_commit_seconds: float
    rollback_completion_seconds: float
    rollback_verdict: str
    indicators: dict[str, float | int | None]
    replayed: int
    replay_seconds: float
    stopped_twin: Proof
    clean_twin: Proof
    checks: list[Check]
    scenario: str = "helpdesk"
    shape: int = SHAPE

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)


class StoreReversal(msgspec.Struct, frozen=True):
    """Result for one store or collection. `reversible`: hidden, reinstated, hidden again and purged as required."""

    store: str
    space: str
    reversible: bool
    problem: str


class InPlaceReport(msgspec.Struct, frozen=True):
    """Report of a drill on a user's own database. Times are seconds."""

    url: str
    deployment: str
    stores: list[StoreReversal]
    reads_by_live_readers: int
    keys_compared: int
    rollback_commit_seconds: float | None
    rollback_completion_seconds: float | None
    erased_writes: int
    seconds: float
    checks: list[Check]
    scenario: str = "in-place"
    shape: int = SHAPE

    @property
    def passed(self) -> bool:
        """Whether every check passed and every store is reversible."""
        return all(check.passed for check in self.checks) and all(store.reversible for store in self.stores)


class Moment(msgspec.Struct, frozen=True):
    """One line of the timeline: seconds since the launch began, what happened, and the evidence at that time.

    `sessions`: those that were judged by then, the canary's and the baseline's; `e`: the e-value against the canary.
    """

    at: float
    what: str
    sessions: tuple[int, int] | None = None
    e: float | None = None


class AutomaticReport(msgspec.Struct, frozen=True):
    """Report of the automatic drill. Times are seconds; None: it did not come to that."""

    release: str
    documents: int
    canary_sessions: int
    baseline_sessions: int
    python: str
    seconds: float
    killed_at: list[str]
    timeline: list[Moment]
    quality: list[Quality]
    level_recognition_seconds: float | None
    rollback_commit_seconds: float | None
    replayed: int
    looks: int
    checks: list[Check]
    scenario: str = "automatic"
    shape: int = SHAPE

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)


class Passing(Protocol):
    """A report of any drill: a struct with a verdict."""

    @property
    def passed(self) -> bool:
        """Whether every check passed."""


def to_document(report: Passing) -> dict[str, object]:
    """Return the report as a JSON object: all fields, the verdict and the shares."""
    document: dict[str, object] = msgspec.to_builtins(report)
    document["passed"] = report.passed
    if isinstance(report, HelpdeskReport):
        document["quality"] = [
            {**msgspec.to_builtins(q), "share": q.share, "share_in_twin": q.share_in_twin} for q in report.quality
        ]
    elif isinstance(report, AutomaticReport):
        document["quality"] = [{**msgspec.to_builtins(quality), "share": quality.share} for quality in report.quality]
    return document


def failed(checks: Sequence[Check]) -> list[str]:
    """Return the names of the checks that failed."""
    return [check.name for check in checks if not check.passed]


__all__ = [
    "SHAPE", "AutomaticReport", "Check", "Contamination", "HelpdeskReport", "InPlaceReport", "Moment", "Proof",
    "Quality", "StoreOutcome", "StoreReversal", "failed", "to_document",
]  # fmt: skip
