"""Pruning: removing rows of bookkeeping that are older than their policy and that nothing needs."""

from collections.abc import Sequence
from typing import Protocol

from kedge.model.lineage import Lineage
from kedge.model.pruning import Horizon, Needed, Pruned

PRUNED_AT_ONCE = 2_000


class Pruning(Protocol):
    """Rows of bookkeeping: idempotency keys, metric samples, turns with what they read and whom they called, sessions.

    Laws:

    - Each call that deletes is one transaction, and records in it what was pruned: `pruned` is never too low.
    - `turns` and `forget` raise `EpochMoved`, and delete nothing, if the control record has left `epoch`.
    - A turn goes only after what it read and whom it called, and while nothing that it wrote has content. Its id is
      never used again.
    - The last entry of the journal is never deleted: a horizon is before it.
    - Writers wait at most for one part.
    """

    def calls(self, before: int, after: tuple[str, int]) -> tuple[int, tuple[str, int] | None]:
        """Forget idempotency keys of calls before a seq, a part of them: those after a place in the order of keys.

        Return how many, and the place to go on at, or None at the end. A repeat of such a call is a new call.
        """

    def metrics(self, before: float) -> int:
        """Delete metric samples from before a moment, a part of them; return how many."""

    def pruned(self) -> Pruned:
        """Return what was pruned."""

    def note(self, *, reads_at: float | None = None, sessions_at: float | None = None) -> None:
        """Record up to which time a policy was applied."""

    def last_turn(self) -> int:
        """Return the greatest id of a turn, or 0."""

    def callers(self, lineages: Sequence[int]) -> list[int]:
        """Return the turns of other lineages that called turns of these, directly or not."""

    def turns(self, first: int, upto: int, needed: Needed, horizon: Horizon, epoch: int) -> int:
        """Delete what turns with these ids read, whom they called, and the turns themselves; return how many rows.

        What keeps a turn: what is `needed`; a caller that is; a write to a held space; a vector that is still there.
        Of the others, what is from up to the horizon goes.
        """

    def idle_sessions(self, horizon: Horizon) -> list[tuple[str, Lineage]]:
        """Return the sessions that began, or began anew, before the horizon, and that no turn has written in since.

        Those that a snapshot can show are left out. With what each is fixed to.
        """

    def forget(self, sessions: Sequence[str], horizon: Horizon, epoch: int) -> int:
        """Delete those of these sessions that are idle still, with their log entries; return how many."""
