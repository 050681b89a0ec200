"""Ladder: level entries of a database, and who may lift them. `k.ladder`."""

import builtins
from datetime import datetime

from kedge.errors import NotPermitted
from kedge.guard import level_changes
from kedge.guard.level_changes import loosen, tighten
from kedge.model import entries
from kedge.model.checks import check_name
from kedge.model.choices import LevelName
from kedge.model.ladder import EVERYTHING, LevelEntry, LevelSource, Scope, parse_scope
from kedge.model.levels import Level, check_level
from kedge.support.display import brief
from kedge.turns import current, session_assignment
from kedge.turns.kernel import Kernel, actor
from kedge.turns.turn import Turn

AGENT = "agent:"  # how the identity of an agent begins, as `by=`


class Ladder:
    """The degradation ladder of one open database: entries, of which the strictest that matches counts."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def list(self, scope: Scope | str | None = None) -> builtins.list[LevelEntry]:
        """Return the entries in the order in which they were made, all or those of one scope."""
        found = self._kernel.backend.control.load().entries
        wanted = None if scope is None else parse_scope(scope)
        return [entry for entry in found if wanted is None or entry.scope == wanted]

    def effective(
        self,
        feature: str | None = None,
        *,
        session: str | None = None,
        tool: str | None = None,
        deployment: str | None = None,
    ) -> Level:
        """Return the strictest level of what matches. With a session, what its next turn sees counts, too."""
        record, seen = self._kernel.backend.control.load(), frozenset[int]()
        for what, name in (("feature", feature), ("session", session), ("tool", tool)):
            if name is not None:
                check_name(f"the {what}", name)
        if session is not None and record.entries:
            seen |= session_assignment.preview(self._kernel, record, session) | record.externals
        if deployment is not None:
            seen |= {self._kernel.find(record, deployment, "ask about").number}
        return record.level(feature, session=session, tool=tool, seen=seen)

    def tighten(
        self,
        level: LevelName,
        scope: Scope | str = EVERYTHING,
        *,
        reason: str = "",
        expires: float | datetime | None = None,
        by: str | None = None,
    ) -> LevelEntry:
        """Add an entry, or extend an equal one, and return it. Anybody may, agents included.

        `expires`: seconds from now, or a time; a recorded change removes the entry then.
        """
        who, is_agent = self._who(by)
        source = LevelSource.HOOK if is_agent else LevelSource.PERSON
        return tighten(self._kernel, level, scope, source=source, by=who, reason=reason, expires=expires)

    def loosen(self, entry: LevelEntry | str, *, reason: str = "", by: str | None = None) -> LevelEntry:
        """Lift an entry, given itself or its id, and return it. Only a person may: an agent's identity is refused."""
        who = self._person(by, "lift a level entry")
        standing = entries.find(self._kernel.backend.control.load(), entry)
        loosen(self._kernel, standing, source=LevelSource.PERSON, by=who, reason=reason)
        return standing

    def set_level(self, feature: str, level: LevelName, *, reason: str = "", by: str | None = None) -> None:
        """Set what persons say about a feature: the short form, as `k.set_level`."""
        check_name("the feature", feature)
        chosen, (who, is_agent) = check_level(level), self._who(by)
        if is_agent:
            if chosen is Level.FULL:
                self._person(by, "set a level to full")
            tighten(self._kernel, chosen, Scope("feature", feature), source=LevelSource.HOOK, by=who, reason=reason)
            return
        level_changes.set_level(self._kernel, feature, chosen, by=who, reason=reason)

    def _who(self, by: str | None) -> tuple[str, bool]:
        """Return who calls, and whether it is an agent: inside the `with` of its turn, or by the name `agent:…`."""
        turn = current.entered()
        agent = turn.agent if isinstance(turn, Turn) else None
        who = f"{AGENT}{agent}" if by is None and agent is not None else actor(by)
        return who, agent is not None or who.startswith(AGENT)

    def _person(self, by: str | None, what: str) -> str:
        who, is_agent = self._who(by)
        if is_agent:
            raise NotPermitted(f"{brief(who)} cannot {what} in an agent's name or turn: a person does, with by='…'")
        return who
