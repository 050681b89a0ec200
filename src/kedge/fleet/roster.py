"""Roster: the state of each member."""

from kedge.model.artifacts import Artifact, unpack
from kedge.model.code import CODE, others
from kedge.model.fleet import Standing
from kedge.model.visibility import View
from kedge.support.display import Value
from kedge.turns.kernel import Kernel


class MemberStatus(Value, frozen=True):
    """The state of a member. `epoch` is the acknowledged one; `refreshed_at` is wall time of its own machine.

    `code` is the code that it states to run, by agent or "*". `other_code` names the agents that it serves for which
    new sessions see other code pinned.

    `state` is "serving"; "behind": it has not acknowledged the newest epoch; "silent": by the wall clock its lease has
    run out, but no rollback has waited for that; or "expired": a rollback has, and the member has not come back.
    """

    name: str
    state: str
    epoch: int
    serves: tuple[str, ...]
    host: str
    pid: int
    lease_seconds: float
    joined_at: float
    refreshed_at: float
    holds: int
    code: dict[str, str]
    other_code: tuple[str, ...]


def roster(kernel: Kernel) -> tuple[MemberStatus, ...]:
    """Return the members in the order in which they joined."""
    now, epoch = kernel.backend.clock.now(), kernel.backend.control.epoch()
    members = kernel.backend.fleet.members()
    pinned = _pinned(kernel) if any(member.code for member in members) else {}
    return tuple(
        MemberStatus(
            name=member.name,
            state=_state(member, epoch, now),
            epoch=member.epoch,
            serves=member.serves,
            host=member.host,
            pid=member.pid,
            lease_seconds=member.lease_seconds,
            joined_at=member.joined_at,
            refreshed_at=member.at,
            holds=len(member.held),
            code=member.code,
            other_code=tuple(others(member.code, member.serves, pinned)),
        )
        for member in members
    )


def _pinned(kernel: Kernel) -> dict[str, Artifact]:
    """Return the code that new sessions see pinned, by agent."""

    def look(view: View) -> dict[str, Artifact]:
        journal = kernel.backend.journal
        names = [head.key.name for head in journal.range(view, "artifacts", "", payloads=False).heads]
        heads = journal.heads(view, "artifacts", "", [name for name in names if name.endswith(f"/{CODE}")])
        return {name.removesuffix(f"/{CODE}"): unpack(head.payload) for name, head in heads.items()}

    record = kernel.backend.control.load()
    return kernel.read_present(look, View(record.epoch, record.live, record.settled))


def _state(member: Standing, epoch: int, now: float) -> str:
    if member.expired:
        return "expired"
    if now - member.at > member.lease_seconds:
        return "silent"
    return "serving" if member.epoch >= epoch else "behind"
