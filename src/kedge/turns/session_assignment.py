"""Session assignment: which deployments a session sees, fixed at its first turn."""

from collections.abc import Collection

from kedge.model import assignment
from kedge.model.control import ControlRecord
from kedge.ports.control import EpochMoved, Session
from kedge.turns.kernel import Kernel


def assign(kernel: Kernel, session: str, deployment: str | None = None) -> tuple[ControlRecord, Session]:
    """Return the control record and the session's assignment; assign a session that is new or past its TTL.

    The store is asked each time: another process may have refreshed the session, which does not change the epoch.
    """
    control = kernel.backend.control
    while True:
        record, found = control.standing(session)
        if found is not None and not _is_expired(kernel, found):
            return record, found
        opened_with = kernel.openable(record, deployment) or _reopened(record, found)
        base = assignment.assign(record, session, opened_with)
        after = 0 if found is None else found.generation
        try:
            begun = control.begin_session(session, record.epoch, base, opened_with, after=after, by="assignment")
            return control.load(), begun
        except EpochMoved:
            continue


def preview(kernel: Kernel, record: ControlRecord, session: str) -> frozenset[int]:
    """Return what the next turn of a session would be assigned, without assigning it."""
    return _next(kernel, record, session, kernel.backend.control.session(session))


def previews(kernel: Kernel, record: ControlRecord, sessions: Collection[str]) -> dict[str, frozenset[int]]:
    """Return what the next turn of each of these sessions would be assigned, without assigning it."""
    found = kernel.backend.control.sessions_named(sessions)
    return {session: _next(kernel, record, session, found.get(session)) for session in sessions}


def _next(kernel: Kernel, record: ControlRecord, session: str, found: Session | None) -> frozenset[int]:
    if found is not None and not _is_expired(kernel, found):
        return found.base
    return assignment.assign(record, session, _reopened(record, found))


def refresh(kernel: Kernel, session: str, by: str) -> Session:
    """Reassign a session: it gets what a new session would get."""
    control = kernel.backend.control
    while True:
        record, found = control.standing(session)
        opened_with = _reopened(record, found)
        base = assignment.assign(record, session, opened_with)
        after = 0 if found is None else found.generation
        try:
            return control.begin_session(session, record.epoch, base, opened_with, after=after, by=by)
        except EpochMoved:
            continue


def _is_expired(kernel: Kernel, session: Session) -> bool:
    return kernel.session_ttl is not None and session.at + kernel.session_ttl < kernel.backend.clock.now()


def _reopened(record: ControlRecord, session: Session | None) -> str | None:
    """Return the deployment that a session was opened with, if it can still be opened."""
    name = None if session is None else session.opened_with
    return name if any(d.name == name and d.number in record.revocable for d in record.deployments) else None
