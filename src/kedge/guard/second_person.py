"""Requests that a second person decides: loosening, the rights of levels, and calls of tools."""

from typing import Any

import msgspec

from kedge.errors import IllegalTransition, NotPermitted, UnknownName
from kedge.guard.level_changes import loosen
from kedge.model import entries, transitions
from kedge.model.control import ControlRecord
from kedge.model.ladder import LevelEntry, LevelSource
from kedge.model.levels import LEVELS
from kedge.model.requests import LevelRequest, RequestKind, RequestStatus
from kedge.model.rights import Presets, presets_of, to_tables
from kedge.model.upgrade import GUARD_SINCE
from kedge.ports.control import Change
from kedge.support.display import brief
from kedge.turns.approvals import allows_approved, is_expired, needed
from kedge.turns.kernel import Kernel, check_reason

APPROVE, DENY, PRESETS, TWO_PERSONS = "approve", "deny", "presets", "two-persons"


def ask(
    kernel: Kernel,
    kind: RequestKind,
    *,
    by: str,
    reason: str,
    entry: LevelEntry | None = None,
    presets: dict[str, dict[str, Any]] | None = None,
) -> LevelRequest:
    """Return the request for a change that loosens: an open one for the same, or a new one."""
    check_reason(reason)
    about = kind if entry is None else f"{kind}:{entry.id}"
    now = kernel.backend.clock.now()
    wanted = LevelRequest(
        kernel.backend.clock.fresh_id()[-12:], kind, about, by, now, reason, entry=entry, presets=presets
    )
    for found in kernel.backend.requests.of(about):
        if found.presets == presets and not is_expired(kernel, found, now):
            return found
    kernel.backend.requests.add(wanted)
    return wanted


def approve(kernel: Kernel, request: LevelRequest | str, *, by: str) -> LevelRequest:
    """Approve a request; what loosens is done at once, in one commit."""
    found = _pending(kernel, request)
    if by == found.by:
        raise NotPermitted(f"{by!r} asked for request {found.id} and cannot approve it: another person does")
    record = kernel.backend.control.load()
    if found.kind != "act" and kernel.backend.control.entries(operation=found.id):
        return _decide(kernel, found, "used", by)  # a process has done it, and crashed before it could say so
    if found.entry is not None:
        entries.find(record, found.entry)
    if not allows_approved(record, found):
        raise NotPermitted(
            f"the level allows no approved acts now, and request {found.id} stands still: loosen the level first "
            "(`kedge ladder`); the time that it has left does not run meanwhile"
        )
    if found.kind == "act":
        now = kernel.backend.clock.now()
        decided = _decide(kernel, found, "approved", by, since=now)
        kernel.backend.control.step(
            found.id, APPROVE, by=by, detail={"request": found.id, "tool": found.tool, "session": found.session}
        )
        return decided
    detail = {"asked_by": found.by, "approved_by": by, "request": found.id}
    if found.kind == "loosen" and found.entry is not None:
        loosen(
            kernel, found.entry, source=LevelSource.PERSON, by=found.by, reason=found.reason, operation=found.id,
            detail=detail,
        )  # fmt: skip
    elif found.kind == "presets":
        _commit_presets(
            kernel, found.presets or {}, by=found.by, reason=found.reason, detail=detail, operation=found.id
        )
    else:
        _commit_two(kernel, required=False, by=found.by, reason=found.reason, detail=detail, operation=found.id)
    return _decide(kernel, found, "used", by)


def deny(kernel: Kernel, request: LevelRequest | str, *, by: str) -> LevelRequest:
    """Deny a request."""
    found = _pending(kernel, request)
    decided = _decide(kernel, found, "denied", by)
    kernel.backend.control.step(found.id, DENY, by=by, detail={"request": found.id, "what": found.kind})
    return decided


def require_two(kernel: Kernel, *, required: bool, by: str, reason: str) -> None:
    """Require two persons, or ask to require them no longer."""
    kernel.check_fence("two persons", GUARD_SINCE)
    if kernel.backend.control.load().two_persons == required:
        return
    if not required:
        raise needed(ask(kernel, "two_persons", by=by, reason=reason))
    _commit_two(kernel, required=True, by=by, reason=reason)


def set_presets(kernel: Kernel, presets: Presets, *, by: str, reason: str) -> Presets:
    """Set the rights of levels; ask for a second person where that is required and a level gains a right."""
    kernel.check_fence("rights of levels", GUARD_SINCE)
    tables, record = to_tables(presets), kernel.backend.control.load()
    gains = any(any(presets.of(level).within(record.rights.of(level))) for level in LEVELS)
    if record.two_persons and gains:
        raise needed(ask(kernel, "presets", by=by, reason=reason, presets=tables))
    if presets != record.rights:
        _commit_presets(kernel, tables, by=by, reason=reason)
    return presets


def _commit_presets(
    kernel: Kernel,
    tables: dict[str, dict[str, Any]],
    *,
    by: str,
    reason: str,
    detail: dict[str, Any] | None = None,
    operation: str | None = None,
) -> None:
    presets_of(tables)  # monotone, or it raises
    number = operation or kernel.backend.clock.fresh_id()

    def decide(record: ControlRecord) -> Change:
        after = msgspec.structs.replace(transitions.next_epoch(record), presets=tables)
        return Change(after, number, PRESETS, by, None, reason, {"presets": tables} | (detail or {}))

    kernel.change(decide)


def _commit_two(
    kernel: Kernel,
    *,
    required: bool,
    by: str,
    reason: str,
    detail: dict[str, Any] | None = None,
    operation: str | None = None,
) -> None:
    number = operation or kernel.backend.clock.fresh_id()

    def decide(record: ControlRecord) -> Change:
        after = msgspec.structs.replace(transitions.next_epoch(record), two_persons=required)
        return Change(after, number, TWO_PERSONS, by, None, reason, {"required": required} | (detail or {}))

    kernel.change(decide)


def _pending(kernel: Kernel, request: LevelRequest | str) -> LevelRequest:
    """Return a request that is still to be decided, or raise."""
    ident = request.id if isinstance(request, LevelRequest) else request
    found = kernel.backend.requests.find(ident) if isinstance(ident, str) else None
    if found is None:
        raise UnknownName(f"no request {brief(ident)}: `kedge ladder` lists those that wait")
    if found.status != "pending":
        raise IllegalTransition(f"request {found.id} is {found.status} by {found.decided_by}: ask anew")
    if is_expired(kernel, found, kernel.backend.clock.now()):
        raise NotPermitted(f"request {found.id} has expired, and is denied: {found.by!r} can ask anew")
    return found


def _decide(
    kernel: Kernel, found: LevelRequest, status: RequestStatus, by: str, *, since: float | None = None
) -> LevelRequest:
    decided = msgspec.structs.replace(
        found,
        status=status,
        decided_by=by,
        since=found.since if since is None else since,
        token=kernel.backend.clock.fresh_id(),
    )
    if not kernel.backend.requests.decide(decided, "pending"):
        raise IllegalTransition(f"request {found.id} was decided meanwhile: `kedge ladder` lists those that wait")
    return decided
