"""Retention policies and holds: setting and dropping them, and the purges that a hold refuses."""

from collections.abc import Callable
from typing import Any

from kedge.errors import HoldInTheWay, InvalidValue
from kedge.model import transitions
from kedge.model.checks import check_name
from kedge.model.control import ControlRecord
from kedge.model.retention import BOOKKEEPING, SECONDS_LEAST, RetentionPolicy
from kedge.model.stores import check_store
from kedge.ports.control import Change
from kedge.turns.kernel import Kernel, actor

OFF = "off"


def set_policy(
    kernel: Kernel,
    age: float | None,
    *,
    store: str | None,
    space: str | None,
    hold: bool,
    purge_after: float | str | None,
    by: str | None,
) -> None:
    """Set the horizon, the policy of a store or of a space, or after how long rolled-back deployments are purged."""
    who, operation = actor(by), kernel.backend.clock.fresh_id()
    if purge_after is not None:
        if age is not None or store is not None or space is not None or hold:
            raise InvalidValue(f"purge_after={purge_after!r} goes with no other setting; make two calls")
        after = None if purge_after == OFF else transitions.check_retention(purge_after, "purge_after", repr(OFF))
        _change(
            kernel, lambda record: transitions.set_purge_after(record, after), {"purge_after": after}, operation, who
        )
    elif store is not None:
        if hold and age is not None:
            raise InvalidValue(f"invalid age {age!r} of a hold: a hold keeps all until it is dropped; leave age out")
        policy = _policy(store, space, age, hold=hold)
        if policy.store in SECONDS_LEAST:
            kernel.check_fence(f"a retention of {policy.scope}")
        _change_policy(kernel, transitions.set_policy, policy, operation, who)
    elif hold or space is not None:
        raise InvalidValue("a hold and a space need store=: say which store they are for, such as store='memory'")
    else:
        kept = transitions.check_retention(age)
        _change(kernel, lambda record: transitions.set_retention(record, kept), {"seconds": kept}, operation, who)


def _change(
    kernel: Kernel,
    alter: Callable[[ControlRecord], ControlRecord],
    detail: dict[str, Any],
    operation: str,
    who: str,
    kind: str = "retention",
) -> None:
    kernel.change(lambda record: Change(alter(record), operation, kind, who, detail=detail))


def drop_policy(kernel: Kernel, *, store: str, space: str | None, hold: bool, by: str | None) -> None:
    """Remove the policy, or the hold, of a store or of a space."""
    operation = kernel.backend.clock.fresh_id()
    _change_policy(kernel, transitions.drop_policy, _policy(store, space, None, hold=hold), operation, actor(by))


def _policy(store: str, space: str | None, age: float | None, *, hold: bool) -> RetentionPolicy:
    check_store(store, *BOOKKEEPING)
    if space is not None and store in BOOKKEEPING:
        raise InvalidValue(f"invalid space {space!r}: {store} has no spaces; leave space out")
    named = None if space is None else check_name("the space", space, empty=True)
    seconds, least = transitions.check_retention(age), SECONDS_LEAST.get(store, 0.0)
    if seconds is not None and seconds < least:
        raise InvalidValue(f"invalid age {age!r} of {store}: keep them for {least:g} seconds at least, for open turns")
    return RetentionPolicy(store, named, seconds, hold)


def _change_policy(
    kernel: Kernel,
    alter: Callable[[ControlRecord, RetentionPolicy], ControlRecord],
    policy: RetentionPolicy,
    operation: str,
    who: str,
) -> None:
    kind = "hold" if policy.hold else "retention"
    dropped = alter is transitions.drop_policy
    detail = {"store": policy.store, "space": policy.space, "seconds": policy.seconds, "dropped": dropped}
    _change(kernel, lambda record: alter(record, policy), detail, operation, who, kind)


def check_holds(kernel: Kernel, gone: frozenset[int], record: ControlRecord) -> None:
    """Raise `HoldInTheWay` if a hold is on a space where one of these deployments wrote."""
    holds = [policy for policy in record.policies if policy.hold]
    if not holds:
        return
    impact = kernel.backend.impact
    for counted in impact.count_writes(impact.lineages_with(gone)):
        held = next((h for h in holds if h.store == counted.store and h.space in {None, counted.space}), None)
        if held is not None:
            names = ", ".join(map(repr, sorted(kernel.names(gone))))
            raise HoldInTheWay(
                f"{names} wrote to {counted.store} {counted.space!r}, where a hold on {held.scope} keeps everything; "
                "drop the hold first (`kedge retention --help`), then purge"
            )
