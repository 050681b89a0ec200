"""Approvals of single calls: asked for by a turn, decided by a person, used once."""

import msgspec

from kedge.errors import ApprovalNeeded
from kedge.model.control import ControlRecord
from kedge.model.requests import LevelRequest, about_call, call_text, cut
from kedge.model.rights import Reversibility, Verdict, may
from kedge.model.upgrade import GUARD_SINCE
from kedge.model.writes import Author
from kedge.turns.kernel import Kernel

_SHOWN = 1_000  # requests at most
_CHANGES = 1_000  # of the log, at most, which are looked at for how long a request stood still


def use(
    kernel: Kernel,
    author: Author,
    seen: frozenset[int],
    *,
    tool: str | None,
    reversibility: Reversibility | None,
    call: object,
) -> str:
    """Use the approval of one call, once, and return who approved it; else raise `ApprovalNeeded` with its request."""
    kernel.check_fence("approvals", GUARD_SINCE)
    text, port, clock = call_text(call), kernel.backend.requests, kernel.backend.clock
    about, now = about_call(author.agent, author.session, tool, reversibility, text), kernel.backend.clock.now()
    waiting: LevelRequest | None = None
    for found in port.of(about):
        if is_expired(kernel, found, now):
            continue
        if found.status == "pending":
            waiting = waiting or found
            continue
        used = msgspec.structs.replace(found, status="used", token=clock.fresh_id())
        if port.decide(used, "approved"):
            return used.decided_by or ""
    if waiting is None:
        waiting = LevelRequest(
            id=clock.fresh_id()[-12:], kind="act", about=about, by=f"agent:{author.agent}" if author.agent else "",
            since=now, agent=author.agent, session=author.session, tool=tool, reversibility=reversibility,
            call=cut(text), seen=tuple(sorted(seen)),
        )  # fmt: skip
        port.add(waiting)
    raise needed(waiting)


def open_requests(kernel: Kernel) -> list[LevelRequest]:
    """Return the requests that are pending, or approved and not used, the oldest first."""
    now, standing = kernel.backend.clock.now(), {entry.id for entry in kernel.backend.control.load().entries}
    found = (one for one in kernel.backend.requests.open(_SHOWN) if one.entry is None or one.entry.id in standing)
    return [one for one in found if not is_expired(kernel, one, now)]


def needed(request: LevelRequest) -> ApprovalNeeded:
    """Return the error for what a person must approve first."""
    return ApprovalNeeded(
        f"{request.what}: a person must approve it within {request.seconds / 60:g} min: "
        f"`kedge ladder approve {request.id}`, or k.ladder.approve(…); then call again",
        request,
    )


def is_expired(kernel: Kernel, request: LevelRequest, now: float) -> bool:
    """Return whether a request is valid no longer: nobody decided it in time, or its approval was not used in time."""
    if now <= request.since + request.seconds:
        return False
    return now > request.since + request.seconds + _stood_still(kernel, request, now)


def allows_approved(record: ControlRecord, request: LevelRequest) -> bool:
    """Return whether the level that a request is subject to allows what a person has approved."""
    if request.kind != "act":
        return True
    level = record.level(request.agent, session=request.session, tool=request.tool, seen=frozenset(request.seen))
    return may(level, "act", reversibility=request.reversibility, presets=record.rights) is not Verdict.NO


def _stood_still(kernel: Kernel, request: LevelRequest, now: float) -> float:
    """Return for how many seconds the level allowed no approved acts since a request: these do not count."""
    if request.kind != "act":
        return 0.0
    control = kernel.backend.control
    if control.load().epoch == 0:
        return 0.0
    still, until = 0.0, now
    for entry in control.entries(limit=_CHANGES):
        if entry.is_step:
            continue
        began = max(entry.at, request.since)
        if until > began and not allows_approved(control.record_at(entry.seq), request):
            still += until - began
        until = min(until, began)
        if entry.at <= request.since:
            break
    return still
