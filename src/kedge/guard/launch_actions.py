"""Actions of a launch in the database, each done once: its operation id names the look that asked for it."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from kedge.deployments import lifecycle
from kedge.errors import DuplicateName, IllegalTransition, UnknownName
from kedge.guard.launch_report import snapshot_of
from kedge.guard.launch_state import Action
from kedge.guard.level_changes import loosen, tighten
from kedge.model.ladder import LevelSource, Scope
from kedge.model.levels import Level
from kedge.recovery import reconcile as reconciling
from kedge.recovery import rollback as rollbacks
from kedge.support.failpoints import reach
from kedge.turns.kernel import Kernel

BY = "guard"


def perform(kernel: Kernel, name: str, action: Action, operation: str) -> None:
    """Do an action, unless it was done; raise `Conflict` where it cannot be done.

    A process that died in the middle of a promotion or a rollback has committed it or not: the next one finishes it.
    """
    reach(f"launch:{action.kind}")
    _ACTIONS[action.kind](kernel, name, action, operation)
    reach(f"launch:{action.kind}:done")


def _snapshot(kernel: Kernel, name: str, _action: Action, _operation: str) -> None:
    if any(snapshot.name == snapshot_of(name) for snapshot in kernel.backend.control.snapshots()):
        return
    try:
        kernel.backend.control.take_snapshot(snapshot_of(name), BY)
    except DuplicateName:
        return  # another pilot has taken it


def _release(kernel: Kernel, name: str, _action: Action, _operation: str) -> None:
    with suppress(UnknownName):  # a person has released it
        kernel.backend.control.release_snapshot(snapshot_of(name), BY)


def _canary(kernel: Kernel, name: str, action: Action, operation: str) -> None:
    _once(
        kernel, operation, lambda: lifecycle.start_canary(kernel, name, action.weight, by=BY, operation=operation)
    )  # fmt: skip


def _promote(kernel: Kernel, name: str, action: Action, operation: str) -> None:
    def promote() -> None:
        _, entry = lifecycle.promote(kernel, name, by=BY, holdback=action.weight, operation=operation)
        reach("launch:promoted")
        reconciling.follow(kernel, entry, _ignore)

    _once(kernel, operation, promote)


def _settle(kernel: Kernel, name: str, action: Action, operation: str) -> None:
    _once(
        kernel, operation, lambda: lifecycle.settle(kernel, name, by=BY, reason=action.text, operation=operation)
    )  # fmt: skip


def _roll_back(kernel: Kernel, name: str, action: Action, operation: str) -> None:
    _once(
        kernel, operation, lambda: rollbacks.roll_back(kernel, name, reason=action.text, by=BY, operation=operation)
    )  # fmt: skip


def _once(kernel: Kernel, operation: str, change: Callable[[], Any]) -> None:
    """Make a change unless the log has it; finish what a process that died left of it."""
    if not is_applied(kernel, operation):
        try:
            change()
        except IllegalTransition:
            if not is_applied(kernel, operation):  # else another pilot was faster
                raise
    elif any(entry.operation == operation for entry in rollbacks.unfinished(kernel)):
        rollbacks.recover(kernel)


def is_applied(kernel: Kernel, operation: str) -> bool:
    """Return whether the log has the change of an operation."""
    return any(not entry.is_step for entry in kernel.backend.control.entries(operation=operation))


def _tighten(kernel: Kernel, name: str, action: Action, _operation: str) -> None:
    scope = Scope("deployment", name)
    tighten(kernel, Level.SUPERVISED, scope, source=LevelSource.GUARD, by=BY, reason=action.text)


def _loosen(kernel: Kernel, name: str, action: Action, _operation: str) -> None:
    scope = Scope("deployment", name)
    for entry in kernel.backend.control.load().entries:
        if entry.scope == scope and entry.source == LevelSource.GUARD:
            try:
                loosen(kernel, entry, source=LevelSource.GUARD, by=BY, reason=action.text)
            except UnknownName:
                continue  # a person has lifted it


def _ignore(_step: str) -> None:
    """Ignore a step, because there is no listener."""


_ACTIONS: dict[str, Callable[[Kernel, str, Action, str], None]] = {
    "snapshot": _snapshot,
    "release": _release,
    "canary": _canary,
    "promote": _promote,
    "settle": _settle,
    "roll_back": _roll_back,
    "tighten": _tighten,
    "loosen": _loosen,
}
