"""Ladder: level entries of a database, and who may lift them. `k.ladder`."""

import builtins
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from kedge.errors import InvalidValue
from kedge.guard import level_changes, second_person, stopping
from kedge.guard.callers import AGENT, caller, person
from kedge.guard.level_changes import loosen, tighten
from kedge.guard.stopping import WAIT_SECONDS, ReleaseReport
from kedge.model import entries, ladder
from kedge.model.checks import check_name
from kedge.model.choices import LevelName
from kedge.model.ladder import LevelEntry, LevelSource, Scope, parse_scope
from kedge.model.levels import Level, check_level
from kedge.model.requests import LevelRequest
from kedge.model.rights import Act, Presets, Reversibility, Verdict, check_act, check_reversibility, may, parse_presets
from kedge.recovery.converge import check_wait
from kedge.recovery.recognition import RecordedStop
from kedge.turns import approvals, session_assignment
from kedge.turns.kernel import Kernel
from kedge.turns.stop_files import check_path

__all__ = ["AGENT", "Ladder", "loosen", "tighten"]


class Ladder:
    """The degradation ladder of one open database: entries, of which the strictest that matches counts."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def list(self, scope: Scope | str | Mapping[str, Any] | None = None) -> builtins.list[LevelEntry]:
        """Return the entries in the order in which they were made, all or those of one scope.

        Those of this host's stop files come last; their ids begin with "file."
        """
        found = (*self._kernel.backend.control.load().entries, *self._kernel.stop_files.entries)
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
        return self._kernel.level(record, feature, session=session, tool=tool, seen=seen)

    def may(
        self,
        act: Act,
        feature: str | None = None,
        *,
        session: str | None = None,
        tool: str | None = None,
        reversibility: Reversibility | None = None,
    ) -> Verdict:
        """Return what the effective level says of an act, as `turn.may` does in a turn of this feature and session."""
        level = self.effective(feature, session=session, tool=tool)
        chosen, known = check_act(act), check_reversibility(reversibility)
        return may(level, chosen, reversibility=known, presets=self._kernel.backend.control.load().rights)

    def stop(
        self,
        level: LevelName = "off",
        scope: Scope | str | Mapping[str, Any] = "everything",
        *,
        reason: str = "",
        by: str | None = None,
        wait: float | None = WAIT_SECONDS,
    ) -> RecordedStop:
        """Record a stop, measure it, and wait for the members; `kedge.stop` writes the stop file first.

        It waits `wait` seconds at most, None until each member has confirmed or its lease has run out.
        """
        seconds = None if wait is None else check_wait(wait)
        who, _ = self._who(by)
        return stopping.record(self._kernel, level, scope, reason=reason, by=who, wait_seconds=seconds)

    def release(
        self,
        scope: Scope | str = "everything",
        *,
        stop_file: str | Path | None = None,
        reason: str = "",
        by: str | None = None,
    ) -> ReleaseReport:
        """Lift the recorded stops of a scope, then its lines in a stop file of this host: by default, in all of them.

        Only a person may, also where no more than a file says it.
        """
        who, where = self._person(by, "lift a stop"), parse_scope(scope)
        paths = self._kernel.stop_files.paths if stop_file is None else (check_path(stop_file),)
        return stopping.release(self, where, paths, reason=reason, by=who)

    def tighten(
        self,
        level: LevelName,
        scope: Scope | str | Mapping[str, Any] = "everything",
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

    def loosen(
        self, entry: LevelEntry | str, *, reason: str = "", by: str | None = None, break_glass: bool = False
    ) -> LevelEntry:
        """Lift an entry, given itself or its id, and return it. Only a person may: an agent's identity is refused.

        Where two persons are required, off, fallback and what the guard set raise `ApprovalNeeded`, whose request
        another person approves. `break_glass` lifts them at once, with a reason, and is marked in the log.
        """
        who = self._person(by, "lift a level entry")
        record = self._kernel.backend.control.load()
        for known in self._kernel.stop_files.entries:
            if known.id == (entry.id if isinstance(entry, LevelEntry) else entry):
                raise InvalidValue(
                    f"{known.id} is a line of the stop file {known.by}; take it out with "
                    f"`kedge stop --release {known.scope}`"
                )
        standing = entries.find(record, entry)
        needs_two = record.two_persons and ladder.needs_two(standing, source=LevelSource.PERSON)
        if needs_two and break_glass and not reason:
            raise InvalidValue("break_glass=True needs a reason: it lifts the entry without the second person")
        if needs_two and not break_glass:
            raise approvals.needed(second_person.ask(self._kernel, "loosen", by=who, reason=reason, entry=standing))
        detail = {"break_glass": True} if needs_two else {}
        loosen(self._kernel, standing, source=LevelSource.PERSON, by=who, reason=reason, detail=detail)
        return standing

    # ── requests ──

    def requests(self) -> builtins.list[LevelRequest]:
        """Return what waits for a person, or is approved and not used yet, the oldest first."""
        return approvals.open_requests(self._kernel)

    def approve(self, request: LevelRequest | str, *, by: str | None = None) -> LevelRequest:
        """Approve a request, given itself or its id; what loosens is done at once. Not by who asked, nor by an agent.

        While the level allows no approved acts, requests of acts stand still: they cannot be approved, and do not
        expire.
        """
        who = self._person(by, "approve a request")
        return second_person.approve(self._kernel, request, by=who)

    def deny(self, request: LevelRequest | str, *, by: str | None = None) -> LevelRequest:
        """Deny a request, given itself or its id."""
        return second_person.deny(self._kernel, request, by=self._who(by)[0])

    # ── settings ──

    @property
    def two_persons(self) -> bool:
        """Whether two persons loosen off, fallback and what the guard set."""
        return self._kernel.backend.control.load().two_persons

    def require_two_persons(self, required: bool = True, *, reason: str = "", by: str | None = None) -> None:  # noqa: FBT001, FBT002 - the one argument
        """Require two persons for loosening off, fallback and what the guard set.

        To end that wants two persons as well: it raises `ApprovalNeeded`.
        """
        who = self._person(by, "change who loosens")
        second_person.require_two(self._kernel, required=bool(required), by=who, reason=reason)

    def presets(self) -> Presets:
        """Return the rights of all levels."""
        return self._kernel.backend.control.load().rights

    def set_presets(self, presets: str | Path, *, reason: str = "", by: str | None = None) -> Presets:
        """Set the rights of levels from TOML, given as text or as the path of a file; "" makes them the default ones.

        They must shrink from level to level. Where two persons are required and a level gains a right, it raises
        `ApprovalNeeded`.
        """
        who = self._person(by, "change what levels permit")
        text = _read(presets) if isinstance(presets, Path) else presets
        return second_person.set_presets(self._kernel, parse_presets(text), by=who, reason=reason)

    # ── the short form, and who calls ──

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
        return caller(by)

    def _person(self, by: str | None, what: str) -> str:
        return person(by, what)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(f"cannot read the presets in {str(file)!r}: {error}; check the path") from None
