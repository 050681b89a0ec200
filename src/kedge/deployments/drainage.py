"""Drainage: the sessions that see a deployment or do not yet, and their refresh in bulk."""

from collections.abc import Iterator

from kedge.errors import InvalidValue
from kedge.model.checks import check_name
from kedge.model.control import ControlRecord
from kedge.model.numbers import as_integer
from kedge.model.session_settings import NEVER, Refresh
from kedge.ports.control import Session, SessionFilter
from kedge.support.display import Report, Value, count
from kedge.turns import session_assignment
from kedge.turns.kernel import Kernel

PAGE = 500


class SessionInfo(Value, frozen=True):
    """A session as of its newest assignment. `sees`: the deployments it sees, besides the settled ones and peers.

    `refresh` and `unit_id` are its settings. One that has `ended` begins anew at its next turn.
    """

    session: str
    generation: int
    assigned_at: float
    epoch: int
    sees: tuple[str, ...]
    opened_with: str | None
    refresh: Refresh = NEVER
    unit_id: str | None = None
    ended: bool = False
    forked_from: tuple[str, int] | None = None  # a session, and the seq of the fork


class SessionsRefreshed(Report, frozen=True):
    """A refresh of many sessions. `unchanged` of them still match: they see, or do not see, the same deployment."""

    refreshed: int
    unchanged: int

    def __str__(self) -> str:
        """Return the verdict."""
        still = f"; {self.unchanged:,} of them still match" if self.unchanged else ""
        return f"{count(self.refreshed, 'session')} refreshed{still}"


def sessions(
    kernel: Kernel, prefix: str, after: str | None, limit: int, seeing: str | None, not_seeing: str | None
) -> list[SessionInfo]:
    """Return sessions in order of name."""
    most = as_integer("limit", limit, "a positive integer", least=1)
    record = kernel.backend.control.load()
    chosen = _filter(kernel, record, prefix, seeing, not_seeing)
    found = kernel.backend.control.sessions(chosen, after, most)
    return [_info(kernel, record, session) for session in found]


def refresh(kernel: Kernel, prefix: str, seeing: str | None, not_seeing: str | None, by: str) -> SessionsRefreshed:
    """Assign all matching sessions anew; each sees what a new session would from its next turn on."""
    if seeing is None and not_seeing is None:
        raise InvalidValue("which sessions to refresh is not given: pass seeing= or not_seeing= a deployment")
    record = kernel.backend.control.load()
    chosen = _filter(kernel, record, prefix, seeing, not_seeing)
    refreshed = unchanged = 0
    for session in _all(kernel, chosen):
        begun = session_assignment.refresh(kernel, session.session, by)
        refreshed += 1
        unchanged += (chosen.number in begun.base) == chosen.sees
    return SessionsRefreshed(refreshed, unchanged)


def end(kernel: Kernel, session: str, by: str) -> SessionInfo:
    """End a session: its next turn begins it anew."""
    ended = session_assignment.end(kernel, session, by)
    return _info(kernel, kernel.backend.control.load(), ended)


def _all(kernel: Kernel, chosen: SessionFilter) -> Iterator[Session]:
    after: str | None = None
    while page := kernel.backend.control.sessions(chosen, after, PAGE):
        yield from page
        after = page[-1].session


def _filter(
    kernel: Kernel, record: ControlRecord, prefix: str, seeing: str | None, not_seeing: str | None
) -> SessionFilter:
    if not isinstance(prefix, str):
        raise InvalidValue(f"invalid prefix {prefix!r}: must be a string")
    if seeing is not None and not_seeing is not None:
        raise InvalidValue(f"seeing={seeing!r} and not_seeing={not_seeing!r} exclude each other; give one")
    name = seeing if seeing is not None else not_seeing
    if name is None:
        return SessionFilter(prefix)
    found = kernel.find(record, check_name("the deployment name", name), "list the sessions of")
    if found.number in record.peers:
        raise InvalidValue(f"{name!r} stands for a peer: every session sees it until it is rolled back")
    return SessionFilter(prefix, found.number, sees=seeing is not None)


def _info(kernel: Kernel, record: ControlRecord, session: Session) -> SessionInfo:
    sees = tuple(sorted(kernel.names(record.seen_by(session.base) - record.peers)))
    return SessionInfo(
        session=session.session,
        generation=session.generation,
        assigned_at=session.at,
        epoch=session.epoch,
        sees=sees,
        opened_with=session.opened_with,
        refresh=session.settings.refresh,
        unit_id=session.settings.unit_id,
        ended=session.ended,
        forked_from=session.settings.forked_from,
    )
