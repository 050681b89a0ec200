"""Unfinished operations: changes of the control record whose last step is not in the log yet."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec

from kedge.model.reconcile import DETAIL, RECONCILED

ROLLBACK = "rollback"
RESUMED = "rollback:resumed"  # the last step where features were held
FINISHED = "rollback:finished"  # the last step elsewhere
SUPERSEDED = "rollback:superseded"  # the last step where the deployment was reinstated before the others
PURGE = "purge"
ERASED = "purge:erased"
_LAST_STEPS = {ROLLBACK: (RESUMED, FINISHED, SUPERSEDED), PURGE: (ERASED,)}
Wanted = dict[str, list[str]]  # artifact keys, by the external system that must follow


class Logged(Protocol):
    """An entry of the control log."""

    @property
    def operation(self) -> str:
        """The operation."""

    @property
    def kind(self) -> str:
        """The kind of the change or step."""

    @property
    def detail(self) -> dict[str, Any]:
        """The rest."""


class Unfinished(msgspec.Struct, frozen=True):
    """A change by its operation, kind and seq, and the external systems that must still follow it."""

    operation: str
    kind: str
    seq: int
    wanted: Wanted


def concerns(entry: Logged, *, is_step: bool) -> bool:
    """Return whether an entry of the log begins or ends an operation, or takes over what others must follow."""
    if is_step:
        change, is_reconciled = entry.kind.removesuffix(RECONCILED), entry.kind.endswith(RECONCILED)
        return any(entry.kind in steps for steps in _LAST_STEPS.values()) or (
            is_reconciled and change not in _LAST_STEPS
        )
    return entry.kind in _LAST_STEPS or bool(entry.detail.get(DETAIL))


def followed(before: Sequence[Unfinished], entry: Logged, seq: int, *, is_step: bool) -> list[Unfinished]:
    """Return what is unfinished after one more entry of the log.

    External systems follow the newest change of each artifact only, since reconciling reads the current pin.
    """
    if not concerns(entry, is_step=is_step):
        return list(before)
    if is_step:
        return [one for one in before if one.operation != entry.operation]
    wanted: Wanted = entry.detail.get(DETAIL) or {}
    left = [msgspec.structs.replace(one, wanted=_without(one.wanted, wanted)) for one in before]
    kept = [one for one in left if one.wanted or one.kind in _LAST_STEPS]
    return [*kept, Unfinished(entry.operation, entry.kind, seq, wanted)]


def _without(wanted: Wanted, newer: Wanted) -> Wanted:
    left = {name: [key for key in keys if key not in newer.get(name, ())] for name, keys in wanted.items()}
    return {name: keys for name, keys in left.items() if keys}


def of_log(entries: Iterable[tuple[int, bool, Logged]]) -> list[Unfinished]:
    """Return what is unfinished after a whole log: (seq, whether it is a step, entry), the oldest first."""
    found: list[Unfinished] = []
    for seq, is_step, entry in entries:
        found = followed(found, entry, seq, is_step=is_step)
    return found
