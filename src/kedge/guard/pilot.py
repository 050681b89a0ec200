"""Pilot of a launch: holds its lease, looks at it, and does what the engine decides, each action once."""

import os
import socket
import threading
from bisect import bisect_left
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Self, cast

import msgspec

from kedge.deployments import lifecycle
from kedge.errors import Conflict, InvalidValue, NotPermitted, OutcomeUnknown, PilotRuns, Retryable
from kedge.guard import evidence, quality
from kedge.guard.drift import Recorder
from kedge.guard.engine import advance
from kedge.guard.gate import SKIPPED, GateResult
from kedge.guard.gates import run_gates
from kedge.guard.health import health
from kedge.guard.health_rules import Severity
from kedge.guard.launch_actions import BY, is_applied, perform
from kedge.guard.launch_report import Kept, LaunchEvent, LaunchStatus, notice_of, status_of
from kedge.guard.launch_state import ENDED, Gate, LaunchUnit, Outcome, Phase, Request, World
from kedge.guard.launch_stops import stop_of
from kedge.guard.notify import Notifier
from kedge.guard.release import Notify, Release
from kedge.guard.sessions import Arm
from kedge.guard.state_limits import beyond
from kedge.guard.units import due, hard_events
from kedge.model.control import Status
from kedge.model.control_log import NewEntry
from kedge.model.launches import Advance, PilotLost, StoredLaunch
from kedge.ports.clock import lease_clock
from kedge.support.failpoints import reach
from kedge.turns.kernel import Kernel

LEASE_SECONDS = 30.0
UNITS_AT_ONCE = 1_000
UNITS_WORTH = 20  # fewer sessions wait for others, `batch_seconds` at most: each look that takes some is a log entry
HEALTH_SECONDS = 10.0  # between two looks at the health of the database
_HOLDING = ("members", "operations", "writers")  # checks of health that say how far a rollback has come
_FORWARD = ("canary", "promote", "settle", "loosen")  # a smaller weight is decided on again
_WEIGHT_CHANGES = ("canary", "promote")
OnEvent = Callable[[LaunchEvent], object]


class Pilot:
    """Runs one launch while it holds the lease. Use it as a context manager: at the end it gives the lease back."""

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        *,
        on_event: OnEvent | None = None,
        lease_seconds: float = LEASE_SECONDS,
        notify: Notify | None = None,
        batch_seconds: float = 0.0,
    ) -> None:
        self._kernel = kernel
        self._port = kernel.backend.launches
        self._name = name
        self._on_event = on_event
        self._lease_seconds = lease_seconds
        self._notify = notify or Notify()
        self._batch_seconds = batch_seconds
        self._clock = lease_clock(kernel.backend.clock)
        self._renewed_at = 0.0
        self._holder = kernel.backend.clock.fresh_id()
        self._host = f"{socket.gethostname()} (process {os.getpid()})"
        self._lost = threading.Event()
        self._left = threading.Event()
        self._heart: threading.Thread | None = None
        self._release: Release
        self._drift: Recorder
        self._looked = 0  # the number of the newest observation that was looked at
        self._passed = 0  # the seq up to which no session was drawn
        self._health_at: float | None = None
        self._ill: tuple[str, ...] = ()
        self._gates: tuple[Gate, ...] | None = None
        self._notifier: Notifier

    def __enter__(self) -> Self:
        """Take the lease, or raise `PilotRuns`."""
        stored = self._take()
        self._release = msgspec.json.decode(stored.release, type=Release)
        self._drift = Recorder(self._kernel, (metric.name for metric in self._release.metrics))
        self._notifier = Notifier(self._notify)
        self._heart = threading.Thread(target=self._beat, name="kedge-pilot-lease", daemon=True)
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Give the lease back, and let the notices go out."""
        self._left.set()
        if self._heart is not None:
            self._heart.join()
        with suppress(Retryable):  # the lease runs out by itself
            self._port.release(self._name, self._holder)
        self._notifier.close()

    def _standing(self) -> StoredLaunch:
        """Return the launch as it stands, while the lease holds: renewed where a third of it has passed."""
        if self._clock.elapsed() - self._renewed_at >= self._lease_seconds / 3:
            return self._take()
        stored = self._port.get(self._name)
        return self._own(stored) if stored is not None else self._take()

    def _take(self) -> StoredLaunch:
        asked_at = self._clock.elapsed()
        stored = self._own(self._port.acquire(self._name, self._holder, self._host, self._lease_seconds))
        self._renewed_at = asked_at
        return stored

    def _own(self, stored: StoredLaunch | None) -> StoredLaunch:
        """Return a launch that this pilot holds, or raise `PilotRuns`."""
        assert stored is not None, self._name  # noqa: S101 - launches are never deleted
        if stored.holder != self._holder:
            raise PilotRuns(
                f"a pilot of {self._name!r} runs at {stored.host} until {_utc(stored.until)}, unless it renews its "
                f"lease; end it there, or wait until then"
            )
        return stored

    def _beat(self) -> None:
        """Renew the lease, also while a rollback waits for members; note where another pilot has it."""
        while not self._left.wait(self._lease_seconds / 3):
            try:
                self._take()
            except PilotRuns:
                self._lost.set()
                return
            except (Retryable, OutcomeUnknown):
                continue  # it is renewed later, or runs out

    # ── looks ──

    def look(self) -> tuple[LaunchStatus, bool]:
        """Look once, and do what follows; return where the launch stands, and whether more sessions wait."""
        stored = self._standing()
        if self._lost.is_set():
            raise PilotLost(f"the launch {self._name!r} has another pilot now")
        kept = msgspec.json.decode(stored.state, type=Kept)
        if stored.done < stored.version:
            self._do(stored.version, kept, held=self._held(kept))
            stored = self._standing()
        if kept.state.phase in ENDED:
            return self._status(), False
        found, more = self._gather(stored, kept)
        units, world, after, events = found
        outcome = advance(self._release, kept.state, units, world)
        following = Kept(outcome.state, after, events, outcome.actions)
        if outcome.state == kept.state and not outcome.actions and not outcome.events:
            return self._status(), more
        reach("launch:decided")
        self._store(stored.version, following, outcome, units, world)
        reach("launch:stored")
        if outcome.actions:
            self._do(stored.version + 1, following)
        status = self._status()
        if self._on_event is not None:
            self._on_event(LaunchEvent(outcome.events, status))
        return status, more

    def _store(self, version: int, kept: Kept, outcome: Outcome, units: list[LaunchUnit], world: World) -> None:
        happened = bool(outcome.events or outcome.actions)
        entry = NewEntry(
            evidence.operation_of(self._name),
            evidence.DECISION if happened else evidence.LOOK,
            BY,
            self._name,
            "; ".join(outcome.events),
            evidence.look_of(self._release, version + 1, units, world, outcome),
        )
        state = kept.state
        to = Advance(msgspec.json.encode(kept), str(state.phase), state.blocks, not outcome.actions)
        self._port.advance(self._name, self._holder, version, to, entry)

    def _held(self, kept: Kept) -> str:
        """Return why no step forward may be finished that a pilot before decided on and did not do."""
        asked = [f"{each.by} asked to {each.verb} it" for each in self._requests(kept.state.requests)]
        return "; ".join(asked) or self._stopped(lifecycle.show(self._kernel, self._name))

    def _do(self, version: int, kept: Kept, *, held: str = "") -> None:
        """Do the actions of a version, and record that they are done, or why one is not.

        `held`: why steps forward are not done; the look that follows decides on them anew.
        """
        trouble = ""
        for number, action in enumerate(kept.actions):
            if action.kind == "notify":
                self._notifier.send(notice_of(self._name, version, action.text, kept.state))
                continue
            self._check_lease(version)
            try:
                operation = f"launch:{self._name}:{version}:{number}"
                if held and action.kind in _FORWARD and not is_applied(self._kernel, operation):
                    trouble = f"{action.kind} was not done: {held}"
                    continue
                perform(self._kernel, self._name, action, operation)
            except (Conflict, NotPermitted, InvalidValue) as error:  # invalid: no room for a level entry
                trouble = f"{action.kind} was not done: {error}"
        reach("launch:performed")
        self._port.mark_done(self._name, self._holder, version, trouble)
        reach("launch:marked")

    def _check_lease(self, version: int) -> None:
        """Raise `PilotLost` where another pilot may have decided anew: what it does is the newer decision."""
        stored = self._port.get(self._name)
        if stored is None or (stored.holder, stored.version) != (self._holder, version):
            raise PilotLost(f"the launch {self._name!r} has another pilot now")

    def _gather(self, stored: StoredLaunch, kept: Kept) -> tuple[tuple[list[LaunchUnit], World, int, int], bool]:
        kernel, control, now = self._kernel, self._kernel.backend.control, self._port.now()
        deployment = lifecycle.show(kernel, self._name)
        changes = sorted(entry.seq for entry in control.entries_of((self._name,), _WEIGHT_CHANGES))
        metrics = {metric.name: metric for metric in self._release.metrics}
        units: list[LaunchUnit] = []
        after, events, hard, more = kept.after, kept.events, [], False
        wrong: tuple[str, ...] = ()
        if kept.state.phase is not Phase.GATES:
            longest = max((metric.deadline for metric in self._release.metrics), default=0.0)
            self._drift.record(since=max(stored.begun_at, now - longest))
            units, after, more = self._due(kept, changes, now)
            newest = kernel.backend.metrics.newest()
            events = max(events, self._looked)
            hard = hard_events(kernel, self._name, metrics, after=events, since=stored.begun_at)
            self._looked = events = max(events, newest)
            wrong = quality.findings(kernel, self._release.metrics, since=stored.begun_at)
        blocking = [name for name in self._port.blocking() if name != self._name]
        world = World(
            now=now,
            status=deployment.status,
            weight=deployment.weight,
            era=len(changes),
            since=deployment.since,
            by=deployment.by,
            gates=self._run_gates() if kept.state.phase is Phase.GATES else None,
            requests=self._requests(kept.state.requests),
            findings=(*wrong, *self._findings(now, is_canary=deployment.status is Status.CANARY)),
            hard=tuple(sorted({event.metric for event in hard})),
            trouble=stored.trouble,
            blocked=blocking[0] if blocking else "",
            stopped=self._stopped(deployment),
        )
        return (units, world, after, events), more

    def _due(self, kept: Kept, changes: list[int], now: float) -> tuple[list[LaunchUnit], int, bool]:
        """Return the sessions that are due, up to which seq they were looked for, and whether there are more."""
        metrics = {metric.name: metric for metric in self._release.metrics}
        after = max(kept.after, self._passed)
        found = due(self._kernel, self._name, metrics, after=after, now=now, limit=UNITS_AT_ONCE)
        if not found.units:
            self._passed = found.upto  # none of these was drawn: they need not be looked at again
        elif len(found.units) < UNITS_WORTH and now - kept.state.last_session_at < self._batch_seconds:
            return [], after, False
        units = [
            LaunchUnit(
                cast("Arm", unit.arm), unit.share, bisect_left(changes, unit.seq), unit.verdicts, unit.is_first,
                unit.phase == "holdback",
            )
            for unit in found.units
        ]  # fmt: skip
        return units, found.upto, len(units) >= UNITS_AT_ONCE

    def _run_gates(self) -> tuple[Gate, ...]:
        if self._gates is None:
            results = gates_of(self._kernel, self._release)
            self._gates = tuple(Gate(each.name, each.passed, each.detail) for each in results)
        return self._gates

    def _findings(self, now: float, *, is_canary: bool) -> tuple[str, ...]:
        """Return what is ill for which a launch holds: a rollback that is not everywhere, a state that drifts."""
        if self._health_at is None or not self._health_at <= now < self._health_at + HEALTH_SECONDS:
            found = health(self._kernel).findings
            ill = (each for each in found if each.check in _HOLDING and each.severity is not Severity.WARNING)
            self._health_at, self._ill = now, tuple(f"ill health: {each.what}; {each.todo}" for each in ill)
            if is_canary:
                self._ill += beyond(self._kernel, self._name, self._release.drift, hold=self._release.hold)
        return self._ill

    def _stopped(self, deployment: lifecycle.Deployment) -> str:
        entries = (*self._kernel.backend.control.load().entries, *self._kernel.stop_files.entries)
        return stop_of(entries, self._name, {key.partition("/")[0] for key in deployment.artifacts})

    def _requests(self, after: int) -> tuple[Request, ...]:
        return tuple(
            msgspec.structs.replace(msgspec.json.decode(asked.body, type=Request), number=asked.number)
            for asked in self._port.requests(self._name, after)
        )

    def _status(self) -> LaunchStatus:
        stored = self._port.get(self._name)
        assert stored is not None, self._name  # noqa: S101 - launches are never deleted
        status = status_of(stored, self._port.now())
        failed, why = self._notifier.failed, self._notifier.last_failure
        return msgspec.structs.replace(status, notices_failed=failed, notice_failure=why)


def gates_of(kernel: Kernel, release: Release) -> list[GateResult]:
    """Run the gates of a release, save those that it skips."""
    skipped = [GateResult(name, passed=True, detail=f"{SKIPPED} by the release file") for name in release.skip_gates]
    return [*run_gates(kernel, release.deployment, release.gates, skip=release.skip_gates), *skipped]


def _utc(at: float | None) -> str:
    return "an unknown time" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
