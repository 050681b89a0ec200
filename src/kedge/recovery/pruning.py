"""Pruning: deletes recorded reads, sessions, idempotency keys and metric samples that are older than their policies."""

import time
from collections.abc import Callable, Iterator

from kedge.backends.readable import agreed_now
from kedge.model.control import ControlRecord
from kedge.model.pruning import Horizon, Needed, is_due, may_forget, needed_numbers
from kedge.model.retention import IDEMPOTENCY, METRICS, READS, SESSIONS, kept_seconds
from kedge.ports.control import EpochMoved
from kedge.turns.kernel import Kernel

Progress = Callable[[int, int], None]
_TURNS_AT_ONCE = 2_000  # writers wait for the deletion of no more
_SESSIONS_AT_ONCE = 1_000
_PAUSE_SECONDS_MAX = 0.1


def prune(kernel: Kernel, progress: Progress | None = None, *, in_background: bool = False) -> dict[str, int]:
    """Apply the policies of bookkeeping; return by policy how many rows were deleted.

    In the background, those that need a look at all turns or sessions are applied from time to time only.
    """
    found: dict[str, int] = {}
    record = kernel.backend.control.load()
    for name, act in ((IDEMPOTENCY, _calls), (METRICS, _metrics), (READS, _reads), (SESSIONS, _sessions)):
        horizon = record.retention_seconds if name == SESSIONS else None
        seconds = kept_seconds(record.policies, name, "", horizon)
        if seconds is None:
            continue
        moment = agreed_now(kernel.backend.control, kernel.backend.clock.now()) - seconds
        if in_background and not _is_due(kernel, name, moment, seconds):
            continue
        for rows in act(kernel, moment, progress):
            found[name] = found.get(name, 0) + rows
    return {name: rows for name, rows in found.items() if rows}


def _is_due(kernel: Kernel, name: str, moment: float, seconds: float) -> bool:
    pruned = kernel.backend.pruning.pruned()
    before = {READS: pruned.reads_at, SESSIONS: pruned.sessions_at}.get(name)
    return before is None or is_due(moment, before, seconds)


def _horizon(kernel: Kernel, moment: float) -> Horizon:
    return Horizon(kernel.backend.control.seq_at(moment), moment)


def _calls(kernel: Kernel, moment: float, _progress: Progress | None) -> Iterator[int]:
    """Forget the idempotency keys of calls from before a moment."""
    before = kernel.backend.control.seq_at(moment) + 1
    place: tuple[str, int] | None = ("", 0)
    while place is not None:
        rows, place = kernel.backend.pruning.calls(before, place)
        yield rows


def _metrics(kernel: Kernel, moment: float, _progress: Progress | None) -> Iterator[int]:
    """Delete the metric samples from before a moment."""
    while rows := kernel.backend.pruning.metrics(moment):
        yield rows


def _reads(kernel: Kernel, moment: float, progress: Progress | None) -> Iterator[int]:
    """Delete what turns read and whom they called before a moment, and turns of which nothing is left."""
    port, horizon = kernel.backend.pruning, _horizon(kernel, moment)
    last, first = port.last_turn(), 1
    record, needed = _needed(kernel)
    while first <= last:
        upto = min(first + _TURNS_AT_ONCE - 1, last)
        began = time.monotonic()
        try:
            rows = port.turns(first, upto, needed.within(first, upto), horizon, record.epoch)
        except EpochMoved:
            record, needed = _needed(kernel)
            continue
        yield rows
        first = upto + 1
        if progress is not None:
            progress(upto, last)
        if rows:
            time.sleep(min(time.monotonic() - began, _PAUSE_SECONDS_MAX))  # writers get half of the time
    port.note(reads_at=moment)


def _needed(kernel: Kernel) -> tuple[ControlRecord, Needed]:
    record = kernel.backend.control.load()
    lineages = kernel.backend.impact.lineages_with(needed_numbers(record))
    callers = kernel.backend.pruning.callers(lineages) if lineages else []
    holds = [policy for policy in record.policies if policy.hold]
    held = [
        space.id
        for space in kernel.backend.reclamation.spaces({hold.store for hold in holds})
        if any(hold.store == space.store and hold.space in {None, space.space} for hold in holds)
    ]
    seen = {ident for number in record.by_number for ident in kernel.backend.attribution.sets_with(number)}
    unknown = {-1} if record.by_number else set()
    return record, Needed(tuple(lineages), tuple(sorted(callers)), tuple(held), tuple(seen | unknown))


def _sessions(kernel: Kernel, moment: float, progress: Progress | None) -> Iterator[int]:
    """Forget the sessions that have been idle since a moment and would see no less if they began anew."""
    port, horizon = kernel.backend.pruning, _horizon(kernel, moment)
    while True:
        record = kernel.backend.control.load()
        idle = [session for session, base in port.idle_sessions(horizon) if may_forget(record, base)]
        try:
            for start in range(0, len(idle), _SESSIONS_AT_ONCE):
                began = time.monotonic()
                yield port.forget(idle[start : start + _SESSIONS_AT_ONCE], horizon, record.epoch)
                if progress is not None:
                    progress(min(start + _SESSIONS_AT_ONCE, len(idle)), len(idle))
                time.sleep(min(time.monotonic() - began, _PAUSE_SECONDS_MAX))
        except EpochMoved:
            continue
        break
    port.note(sessions_at=moment)
