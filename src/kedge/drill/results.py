"""What a drill found out: the values of its report. Their JSON is the report's stable document."""

from collections.abc import Sequence

import msgspec

SHAPE = 1


class Check(msgspec.Struct, frozen=True):
    """One thing that had to be so. `name` is stable, `claim` is for people, `detail` says what was measured."""

    name: str
    claim: str
    passed: bool
    detail: str


class Quality(msgspec.Struct, frozen=True):
    """How many answers named the right document, and in a twin without the release, where the same was asked."""

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
    """What the rollback did to one store, counted by key, in the eyes of a session that was inside the release."""

    store: str
    vanished: int
    fell_back: int
    came_back: int
    stayed: int
    contaminated_writes: int


class Contamination(msgspec.Struct, frozen=True):
    """How far the release's influence went: contaminated writes by agent."""

    agent: str
    in_release: bool
    turns: int
    writes: int


class Proof(msgspec.Struct, frozen=True):
    """A comparison of all that is visible: how many places, how many differ, how many the law promises nothing about.

    `left_out_equal` of those `left_out` are equal all the same.
    """

    compared: int
    differ: int
    left_out: int
    left_out_equal: int
    examples: list[str]


class HelpdeskReport(msgspec.Struct, frozen=True):
    """The helpdesk drill, from start to verdict. Times are seconds."""

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
    """How one store, or one collection, took the rehearsal. `reversible`: hidden, brought back, hidden again, gone."""

    store: str
    space: str
    reversible: bool
    problem: str


class InPlaceReport(msgspec.Struct, frozen=True):
    """A rehearsal on a user's own database. Times are seconds."""

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


def to_document(report: HelpdeskReport | InPlaceReport) -> dict[str, object]:
    """Return the report as a JSON object: all its fields, with the verdict and the shares worked out."""
    document: dict[str, object] = msgspec.to_builtins(report)
    document["passed"] = report.passed
    if isinstance(report, HelpdeskReport):
        document["quality"] = [
            {**msgspec.to_builtins(q), "share": q.share, "share_in_twin": q.share_in_twin} for q in report.quality
        ]
    return document


def failed(checks: Sequence[Check]) -> list[str]:
    """Return the names of the checks that failed."""
    return [check.name for check in checks if not check.passed]


__all__ = [
    "SHAPE", "Check", "Contamination", "HelpdeskReport", "InPlaceReport", "Proof", "Quality", "StoreOutcome",
    "StoreReversal", "failed", "to_document",
]  # fmt: skip
