"""Permits: what a turn may do at its level, re-checked where it is done."""

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from kedge.errors import Frozen, NotPermitted
from kedge.model.control import ControlRecord
from kedge.model.ladder import LevelEntry
from kedge.model.levels import Level
from kedge.model.rights import Act, Reversibility, Verdict, may
from kedge.model.visibility import View
from kedge.model.writes import Author, Pending
from kedge.support.display import brief
from kedge.turns.acts import act_of


class Levelled(Protocol):
    """A turn, as far as its permits know it."""

    record: ControlRecord
    view: View
    author: Author

    def level(self, tool: str | None = None) -> Level:
        """Return the strictest level of all that concerns the turn now, or raise where it has ended."""

    def journal_act(self, make: Callable[[View], Pending]) -> None:
        """Journal an act, for the store's newest epoch, before it happens."""

    def decisive_entry(self, tool: str | None = None) -> LevelEntry | None:
        """Return the entry that makes the level what it is, if one does."""


class Permit:
    """The right of one turn to one act, such as one call of a tool: `with turn.require("act", tool=…) as permit`.

    `level` and `epoch` are those at which it was last found to hold; `label` says that what is said must be labelled.
    It ends with its `with` block, and with the turn.
    """

    __slots__ = (
        "_ended", "_scope", "_uses", "act", "approved_by", "epoch", "level", "reversibility", "tool", "verdict",
    )  # fmt: skip

    def __init__(
        self,
        scope: Levelled,
        act: Act,
        level: Level,
        verdict: Verdict,
        *,
        tool: str | None = None,
        reversibility: Reversibility | None = None,
        approved_by: str | None = None,
    ) -> None:
        self._scope = scope
        self._ended = False
        self._uses = [None]  # taken out by who enters it: once, whichever thread
        self.act = act
        self.tool = tool
        self.reversibility = reversibility
        self.approved_by = approved_by
        self.verdict = verdict
        self.level = level
        self.epoch = scope.view.epoch

    @property
    def label(self) -> bool:
        """Whether what is said must be labelled: cautious or canned answers."""
        return self.verdict.label

    def check(self) -> Self:
        """Return itself if the act is still permitted; else raise `NotPermitted`. A member needs no I/O for it."""
        if self._ended:
            raise NotPermitted(f"this permit to {_named(self.act, self.tool)} has ended; ask anew with turn.require(…)")
        level = self._scope.level(self.tool)
        verdict = may(level, self.act, reversibility=self.reversibility, presets=self._scope.record.rights)
        if not (verdict.permits or (verdict is Verdict.APPROVED and self.approved_by is not None)):
            raise refused(self._scope, self.act, level, self.tool, self.reversibility)
        self.level, self.verdict, self.epoch = level, verdict, self._scope.view.epoch
        return self

    def __enter__(self) -> Self:
        """Return itself, checked. An act that changes something is journaled first, with the epoch that permits it."""
        self.check()
        try:
            self._uses.pop()
        except IndexError:
            raise NotPermitted(
                f"this permit to {_named(self.act, self.tool)} is in use; ask anew with turn.require(…)"
            ) from None
        try:
            if self.act == "act" and self.reversibility != "read":
                self._scope.journal_act(self._journaled)
        except BaseException:
            self._uses.append(None)  # nothing was done with it
            raise
        return self

    def _journaled(self, view: View) -> Pending:
        self.check()  # the view may be newer than the one at which it held
        self.epoch = view.epoch
        return act_of(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it: the act is over."""
        self._ended = True

    def __repr__(self) -> str:
        """Return one line."""
        return f"<Permit to {_named(self.act, self.tool)} at {self.level} (epoch {self.epoch})>"


def refused(
    scope: Levelled, act: Act, level: Level, tool: str | None = None, reversibility: Reversibility | None = None
) -> NotPermitted:
    """Return the error for an act that the level of a turn does not permit; `Frozen` for a derived write."""
    why = _why(scope, level, tool)
    author = scope.author
    whose = f"the feature {author.agent!r}" if author.agent is not None else f"the turn of {author.person!r}"
    if act == "learn":
        return Frozen(
            f"{whose} is at level {level}{why}: derived writes are refused, and nothing of this call was written; "
            "write a user's words in a call of their own, answer without writing, or wait for a looser level"
        )
    verdict = may(level, act, reversibility=reversibility, presets=scope.record.rights)
    instead = {
        Verdict.CACHED: "use a cached or pinned answer",
        Verdict.NOTICE: "say only that it is off",
        Verdict.APPROVED: "a person must approve this call: turn.require(…) asks",
    }.get(verdict, "do without it, or wait for a looser level")
    what = _named(act, tool) + (f" ({reversibility or 'irreversible'})" if act == "act" else "")
    return NotPermitted(f"{whose} is at level {level}{why}: it may not {what}; {instead}")


def _why(scope: Levelled, level: Level, tool: str | None) -> str:
    entry = scope.decisive_entry(tool)
    if entry is None or entry.level is not level:
        return " (by the lease or the stop file of this process)"
    reason = f": {brief(entry.reason)}" if entry.reason else ""
    return f" ({entry.id} for {brief(str(entry.scope))}, by {entry.by or entry.source}{reason})"


def _named(act: Act, tool: str | None) -> str:
    return act if tool is None else f"{act} with {brief(tool)}"
