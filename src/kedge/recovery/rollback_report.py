"""The report of a rollback, and its verdict in one sentence."""

from kedge.model.reconcile import Reconciled, troubles
from kedge.recovery.attribution import Unattributed, without_artifacts
from kedge.recovery.converge import Convergence
from kedge.recovery.verify import Indicators
from kedge.support.display import Report

_EXAMPLES_MAX = 3


_AGAIN = "run `kedge recover`"


class RollbackReport(Report, frozen=True):
    """The outcome of a rollback. `writes_hidden` counts all writes that its deployments influenced.

    `superseded` says who reinstated the deployment before the rollback had finished.
    """

    deployment: str
    went_with_it: tuple[str, ...]
    operation: str
    epoch: int
    seq: int
    by: str
    reason: str
    writes_hidden: int
    indicators: Indicators | None
    convergence: Convergence | None = None
    reconciled: tuple[Reconciled, ...] = ()
    superseded: str = ""
    unattributed: tuple[Unattributed, ...] = ()
    unknown_turns: int = 0

    def __str__(self) -> str:
        """Return the verdict."""
        return self.verdict

    @property
    def ok(self) -> bool:
        """Whether all members acknowledged it, external systems were reconciled, and verification passed."""
        converged = self.convergence is not None and self.convergence.converged
        followed = all(outcome.ok for outcome in self.reconciled)
        return not self.superseded and converged and followed and self.indicators is not None and self.indicators.ok

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        gone = ", ".join((self.deployment, *self.went_with_it))
        if self.superseded:
            return f"{gone}: rolled back (epoch {self.epoch}), but {self.superseded}; nothing is left to do"
        return f"{gone}: rolled back{self._outcome} (epoch {self.epoch}){self._left}"

    @property
    def _left(self) -> str:
        """The warning about agents without artifacts that saw it: nothing of theirs is hidden."""
        agents = without_artifacts(self.unattributed)
        if not agents:
            return ""
        named = ", ".join(
            f"{'' if complete else 'at least '}{writes} by {agent!r}{f' (did you mean {other!r}?)' if other else ''}"
            for agent, (writes, complete, other) in list(agents.items())[:_EXAMPLES_MAX]
        )
        more = len(agents) - _EXAMPLES_MAX
        named += f" and {more} more agents" if more > 0 else ""
        return (
            f". WARNING: derived writes of agents without artifacts are not hidden, though their turns saw it: {named}"
        )

    @property
    def _outcome(self) -> str:
        if self.indicators is None:
            return f", not verified; {_AGAIN}"
        found = self.indicators
        if not found.ok and found.diverging and not found.leaks:
            held = ", ".join(found.diverging[:_EXAMPLES_MAX])
            return (
                f", but members still hold {len(found.diverging)} hidden writes, such as {held}; "
                f"restart or reload these members, then {_AGAIN}"
            )
        if not found.ok:
            return ", but VERIFICATION FAILED; run `kedge fsck --full`"
        late = self.convergence is not None and not self.convergence.converged and self.convergence.summary
        trouble = troubles(self.reconciled)
        if late or trouble:
            left = [f"NOT CONVERGED: {late}"] if late else []
            left += [f"NOT RECONCILED: {trouble}"] if trouble else []
            return f" and verified, but {'; '.join(left)}; {_AGAIN}"
        count = found.replay_pending_total
        least = "" if found.replay_pending_complete else "at least "
        pending = f"{least}{count} input needs replay" if count == 1 else f"{least}{count} inputs need replay"
        hidden = f"{self.writes_hidden} {'write' if self.writes_hidden == 1 else 'writes'} hidden"
        fleet = f"; {self.convergence.summary}" if self.convergence is not None and self.convergence.members else ""
        return f" and verified on {found.keys_checked} keys; {hidden}, {pending}{fleet}"
