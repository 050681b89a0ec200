"""Session assignment: which deployments a session sees, fixed at its first turn."""

from collections.abc import Collection
from contextlib import suppress
from typing import NamedTuple

from kedge.errors import UnknownName
from kedge.model import assignment
from kedge.model.control import ControlRecord
from kedge.model.pruning import check_session_known
from kedge.model.session_settings import NOTHING_ASKED, PROMOTED, Asked, SessionSettings
from kedge.ports.control import EpochMoved, Session
from kedge.support.display import brief
from kedge.turns.kernel import Kernel


def assign(
    kernel: Kernel,
    session: str,
    deployment: str | None = None,
    *,
    asked: Asked = NOTHING_ASKED,
    keeps_ended: bool = False,
) -> tuple[ControlRecord, Session]:
    """Return the control record and the session's assignment, as a root turn that begins now finds it.

    A session is assigned that is new, has ended (unless `keeps_ended`), or is past its time; one with
    `refresh="promoted"` adopts what became live. Raise `SessionBegun` where it has other settings than those `asked`.
    The store is asked each time: another process may have refreshed the session, which does not change the epoch.
    """
    control = kernel.backend.control
    while True:
        record, found = control.standing(session)
        if found is not None and found.ended and keeps_ended:
            return record, found
        known = None if found is None or found.ended else found
        if known is not None:
            asked.check(session, known.settings)
        fixed = _fixed(kernel, record, session, known, asked.settings(), deployment)
        if known is not None and fixed.base == known.base and not _is_expired(kernel, known):
            return record, known
        try:
            begun = _begin(kernel, record, session, found, fixed, "assignment")
        except EpochMoved:
            continue
        asked.check(session, begun.settings)  # another process may have begun it
        return control.load(), begun


def _fixed(
    kernel: Kernel,
    record: ControlRecord,
    session: str,
    known: Session | None,
    settings: SessionSettings,
    deployment: str | None = None,
) -> "_Fixed":
    """Return what a root turn fixes a session to, given how it stands: None for one that begins, with `settings`."""
    if known is not None:
        settings = known.settings
        if not _is_expired(kernel, known):
            return _Fixed(_adopted(kernel, record, known), known.opened_with, settings)
    opened_with = kernel.openable(record, deployment) or _reopened(record, known)
    return _Fixed(_assigned(kernel, record, session, settings, opened_with), opened_with, settings)


def check(kernel: Kernel, session: str, asked: Asked) -> None:
    """Raise `SessionBegun` where a session that has begun has other settings than those asked for."""
    found = None if asked == NOTHING_ASKED else kernel.backend.control.session(session)
    if found is not None:
        asked.check(session, found.settings)


def preview(kernel: Kernel, record: ControlRecord, session: str) -> frozenset[int]:
    """Return what the next turn of a session would be assigned, without assigning it; as it ended, if it has ended."""
    return _next(kernel, record, session, kernel.backend.control.session(session))


def previews(kernel: Kernel, record: ControlRecord, sessions: Collection[str]) -> dict[str, frozenset[int]]:
    """Return what the next turn of each of these sessions would be assigned, without assigning it."""
    found = kernel.backend.control.sessions_named(sessions)
    return {session: _next(kernel, record, session, found.get(session)) for session in sessions}


def past(kernel: Kernel, record: ControlRecord, session: str, upto: int) -> frozenset[int]:
    """Return what a session was fixed to at a seq, when this was the record; one unknown then is treated as new."""
    found = kernel.backend.control.session(session, upto)
    if found is None:
        check_session_known(session, upto, kernel.backend.pruning.pruned())
        return assignment.assign(record, session, None, kernel.lists_of(record))
    return found.base if found.ended else _adopted(kernel, record, found)


def _next(kernel: Kernel, record: ControlRecord, session: str, found: Session | None) -> frozenset[int]:
    if found is None:
        return assignment.assign(record, session, None, kernel.lists_of(record))
    if found.ended:
        return found.base
    if _is_expired(kernel, found):
        return _assigned(kernel, record, session, found.settings, _reopened(record, found))
    return _adopted(kernel, record, found)


def refresh(kernel: Kernel, session: str, by: str) -> Session:
    """Reassign a session: it gets what a new session would get."""
    control = kernel.backend.control
    while True:
        record, found = control.standing(session)
        settings = NOTHING_ASKED.settings() if found is None else found.settings
        opened_with = _reopened(record, found)
        fixed = _Fixed(_assigned(kernel, record, session, settings, opened_with), opened_with, settings)
        try:
            return _begin(kernel, record, session, found, fixed, by)
        except EpochMoved:
            continue


def end(kernel: Kernel, session: str, by: str) -> Session:
    """End a session: its next turn begins it anew. It keeps its memory, and what it saw."""
    kernel.check_fence("end_session")
    while True:
        record, found = kernel.backend.control.standing(session)
        if found is None:
            raise UnknownName(f"no session is named {brief(session)}; k.sessions() lists those that have begun")
        if found.ended:
            return found
        fixed = _Fixed(found.base, found.opened_with, found.settings, ended=True)
        with suppress(EpochMoved):
            _begin(kernel, record, session, found, fixed, by)  # another process may have refreshed it: look again


class _Fixed(NamedTuple):
    """What a new generation of a session is fixed to."""

    base: frozenset[int]
    opened_with: str | None
    settings: SessionSettings
    ended: bool = False


def _begin(
    kernel: Kernel, record: ControlRecord, session: str, found: Session | None, fixed: _Fixed, by: str
) -> Session:
    if fixed.settings.encode() is not None:
        kernel.check_fence("settings of sessions")
    return kernel.backend.control.begin_session(
        session,
        record.epoch,
        fixed.base,
        fixed.opened_with,
        after=0 if found is None else found.generation,
        by=by,
        settings=fixed.settings,
        ended=fixed.ended,
    )


def _assigned(
    kernel: Kernel, record: ControlRecord, session: str, settings: SessionSettings, opened_with: str | None
) -> frozenset[int]:
    unit = session if settings.unit_id is None else settings.unit_id
    return assignment.assign(record, unit, opened_with, kernel.lists_of(record))


def _adopted(kernel: Kernel, record: ControlRecord, found: Session) -> frozenset[int]:
    if found.settings.refresh != PROMOTED:
        return found.base
    return assignment.adopt(record, found.base, found.unit, kernel.lists_of(record))


def _is_expired(kernel: Kernel, session: Session) -> bool:
    own = session.settings.refresh
    seconds = own if isinstance(own, float) else kernel.session_ttl
    return seconds is not None and session.at + seconds < kernel.backend.clock.now()


def _reopened(record: ControlRecord, session: Session | None) -> str | None:
    """Return the deployment that a session was opened with, if it can still be opened."""
    name = None if session is None else session.opened_with
    return name if any(d.name == name and d.number in record.revocable for d in record.deployments) else None
