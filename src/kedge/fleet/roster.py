"""The members as people look at them."""

import msgspec

from kedge.kernel import Kernel
from kedge.model.fleet import Standing


class MemberStatus(msgspec.Struct, frozen=True):
    """A member as it stands. `epoch` is acknowledged, `refreshed_at` wall time of its own machine.

    `state` is "serving"; "behind": it has not acknowledged the epoch; "silent": by the wall clock its lease has run
    out, which only a rollback waits out for certain; or "expired": that was done, and it has not come back.
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


def roster(kernel: Kernel) -> tuple[MemberStatus, ...]:
    """Return the members in the order in which they joined."""
    now, epoch = kernel.backend.clock.now(), kernel.backend.control.epoch()
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
        )
        for member in kernel.backend.fleet.members()
    )


def _state(member: Standing, epoch: int, now: float) -> str:
    if member.expired:
        return "expired"
    if now - member.at > member.lease_seconds:
        return "silent"
    return "serving" if member.epoch >= epoch else "behind"
