"""What the automatic drill has rehearsed: the log, what is visible, and the timeline of both."""

from collections.abc import Iterator
from typing import Any

import msgspec

from kedge.drill.content import Content
from kedge.drill.results import Moment, Quality
from kedge.drill.serving import Serving
from kedge.recovery.replay import ReplayReport

BEGIN, DECISION, REQUEST = "launch:begin", "launch:decision", "launch:request"


class Rehearsed(msgspec.Struct, frozen=True):
    """What was found after the launch had ended: the log, oldest first, and what is visible then.

    `status` is the launch's, `recomputed` the result of `k.guard.recompute`. `armed`: steps at which no pilot was
    killed, though one should have been. `sees`: sessions that still see the release. `moments`: times and texts of what
    only the drill knows.
    """

    status: Any
    log: list[Any]
    serving: Serving
    after: Content
    expected: Content
    pending: int
    pending_after: int
    replay: ReplayReport | None
    unanswered: list[str]
    recomputed: Any
    fsck: list[str]
    quality: list[Quality]
    canary: int
    baseline: int
    killed: list[str]
    armed: list[str]
    sees: list[str]
    moments: list[tuple[float, str]]

    @property
    def release(self) -> str:
        """The name of the release."""
        return str(self.recomputed.name)

    def of(self, kind: str) -> list[Any]:
        """Return the log entries of the release of a kind, in order."""
        return [entry for entry in self.log if entry.kind == kind and entry.deployment == self.release]

    def decision(self, action: str) -> Any:
        """Return the first decision that asked for an action, or None."""
        asked = (entry for entry in self.of(DECISION) if action in {each["kind"] for each in entry.detail["actions"]})
        return next(asked, None)

    def change(self, kind: str) -> Any:
        """Return the first change of a kind, without its steps, or None."""
        return next((entry for entry in self.of(kind) if not entry.is_step), None)

    @property
    def tightened(self) -> Any:
        """The change by which the guard degraded the release, or None."""
        return next((entry for entry in self.log if entry.kind == "tighten" and entry.by == "guard"), None)

    @property
    def level_recognition_seconds(self) -> float | None:
        """From the commit of the level to the first canary turn that had it."""
        if self.tightened is None or self.serving.level_seen_at is None:
            return None
        return max(0.0, round(self.serving.level_seen_at - float(self.tightened.at), 4))

    @property
    def rollback_commit_seconds(self) -> float | None:
        """From the decision to roll back to the commit of the rollback."""
        decided, done = self.decision("roll_back"), self.change("rollback")
        return None if decided is None or done is None else max(0.0, round(done.at - decided.at, 4))

    def timeline(self) -> list[Moment]:
        """Return what happened since the launch began, in order."""
        begun = self.of(BEGIN)
        start = float(begun[0].at) if begun else 0.0
        return sorted(self._moments(start), key=lambda moment: moment.at)

    def _moments(self, start: float) -> Iterator[Moment]:
        for entry in self.of(DECISION):
            e = max((each["log_e"] for each in entry.detail["metrics"].values()), default=None)
            canary, baseline = entry.detail["sessions"]
            for text in entry.detail["events"]:
                yield Moment(round(entry.at - start, 3), text, (canary, baseline), None if e is None else _plain(e))
        if self.tightened is not None:
            yield Moment(round(self.tightened.at - start, 3), "the level is supervised for the release")
        if self.serving.level_seen_at is not None:
            at = round(self.serving.level_seen_at - start, 3)
            yield Moment(at, f"a turn of the canary has the level {self.serving.level_seen}")
        rollback = self.change("rollback")
        if rollback is not None:
            yield Moment(round(rollback.at - start, 3), "the rollback is committed")
        for when, text in self.moments:
            yield Moment(round(when - start, 3), text)


def _plain(log_e: float) -> float:
    return float(f"{2.718281828459045 ** min(log_e, 700.0):.4g}")


__all__ = ["Rehearsed"]
