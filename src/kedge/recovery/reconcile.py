"""Reconciliation: bringing external systems to the artifacts that are pinned now, and journaling the outcome."""

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

import msgspec

from kedge.errors import InvalidValue, UnknownName, nearest
from kedge.model import transitions
from kedge.model.artifacts import Artifact, label, names_of, unpack
from kedge.model.checks import check_name, check_seconds
from kedge.model.control import ControlRecord
from kedge.model.reconcile import (
    DETAIL,
    NOT_RECONCILED,
    RECONCILED,
    Reconciled,
    follows,
    match,
    pauses,
)
from kedge.model.secrets import redact
from kedge.model.visibility import View
from kedge.model.writes import Key
from kedge.ports.clock import lease_clock
from kedge.ports.control import Change, Entry
from kedge.ports.reconciler import Interruptible, Reconciler
from kedge.turns.kernel import Kernel, actor

OnStep = Callable[[str], object]
Wanted = Mapping[str, Sequence[str]]  # artifact keys to reconcile, by external system
ATTEMPT_SECONDS_LEAST = 0.05
WAIT_MESSAGE_AFTER_SECONDS = 0.5  # of waiting: most systems answer faster


# ── declarations ──


def set_reconcilers(kernel: Kernel, reconcilers: Mapping[str, Reconciler], *, declare: bool) -> None:
    """Set the reconcilers of this process, and declare in the database which artifacts they follow."""
    wanted = {check_name("the reconciler's name", name): _checked(name, found) for name, found in reconcilers.items()}
    kernel.reconcilers = dict(reconcilers)

    def change(record: ControlRecord) -> Change:
        after = transitions.set_reconcilers(record, record.reconcilers | wanted)
        return Change(after, kernel.backend.clock.fresh_id(), "reconcilers", actor(None), detail={"declared": wanted})

    if declare and not wanted.items() <= kernel.backend.control.load().reconcilers.items():
        kernel.change(change)


def _checked(name: str, reconciler: Reconciler) -> str:
    lacking = [
        each for each in ("artifacts", "deadline_seconds", "observe", "converge") if not hasattr(reconciler, each)
    ]
    if lacking:
        raise InvalidValue(
            f"invalid reconciler {name!r} ({type(reconciler).__name__}): it lacks {', '.join(lacking)}; "
            "see kedge.Reconciler"
        )
    check_seconds(f"the deadline of reconciler {name!r}", reconciler.deadline_seconds)
    return check_name(f"what the reconciler {name!r} follows", reconciler.artifacts)


def forget(kernel: Kernel, name: str, *, by: str | None) -> None:
    """Remove a reconciler's declaration from the database: nothing waits for that system afterwards."""
    who = actor(by)
    if name in kernel.reconcilers:
        raise InvalidValue(f"the reconciler {name!r} is configured in this process; remove it from kedge.toml first")

    def change(record: ControlRecord) -> Change:
        if name not in record.reconcilers:
            raise UnknownName(f"no reconciler is named {name!r}{nearest(name, record.reconcilers)}")
        left = {other: pattern for other, pattern in record.reconcilers.items() if other != name}
        after = transitions.set_reconcilers(record, left)
        return Change(after, kernel.backend.clock.fresh_id(), "reconcilers", who, detail={"forgotten": [name]})

    kernel.change(change)


# ── one system, one artifact ──


class _Follower:
    """Brings one external system to the pin of one artifact, in a thread of its own, until a deadline."""

    def __init__(self, kernel: Kernel, name: str, key: str, reconciler: Reconciler, *, check: bool) -> None:
        self._outcome = _unreconciled(name, key, "")
        self._doing = "reading the pin"
        self._reconciler = reconciler
        self._kernel = kernel
        self._key = key
        self._check = check
        self._clock = lease_clock(kernel.backend.clock)
        self._began = self._clock.elapsed()
        self._stop = threading.Event()
        # Not Thread.join(): an interrupted join marks a running thread as ended (CPython before 3.13).
        self._done = threading.Event()
        threading.Thread(target=self._run, name=f"kedge-reconcile-{name}", daemon=True).start()

    def _left(self) -> float:
        return max(0.0, self._began + self._reconciler.deadline_seconds - self._clock.elapsed())

    def _update(self, **changed: object) -> None:
        seconds = self._clock.elapsed() - self._began
        shown = {field: redact(value) if isinstance(value, str) else value for field, value in changed.items()}
        self._outcome = msgspec.structs.replace(self._outcome, seconds=seconds, **shown)

    def _run(self) -> None:
        try:
            self._follow()
        finally:
            self._done.set()

    def _follow(self) -> None:
        for pause in pauses(iter(random.random, None)):
            try:
                if self._attempt():
                    self._update(ok=True, why="")
                    return
            except Exception as error:  # noqa: BLE001 - an external system may raise anything: reported and retried
                why = f"{type(error).__name__}: {error}"
                self._update(why=why if self._left() > 0 else _with_earlier(why, self._outcome.why))
            left = self._left()
            if self._check or left <= ATTEMPT_SECONDS_LEAST or self._stop.wait(min(pause, left)) or self._left() <= 0:
                return

    def _attempt(self) -> bool:
        """Observe, converge if needed, and observe again; return whether the system is at the pin."""
        self._update(attempts=self._outcome.attempts + 1)
        for again in (False, True):
            self._doing = "reading the pin"
            pin = head_pin(self._kernel, self._key)  # read again each time: it may have changed meanwhile
            if pin is None:
                self._update(wanted=None)
                return True
            self._doing = "observe"
            actual = self._reconciler.observe(self._key, max(ATTEMPT_SECONDS_LEAST, self._left()))
            self._update(wanted=label(pin), actual=actual)
            if actual in names_of(pin):
                return True
            self._update(why=f"it is at {actual or 'nothing'}, not at {label(pin)}")
            if again or self._check or self._stop.is_set():
                return False
            self._doing = "converge"
            self._reconciler.converge(self._key, pin, max(ATTEMPT_SECONDS_LEAST, self._left()))
            self._update(changed=True)
        return False

    def progress(self, seconds: float) -> str | None:
        """Wait so many seconds; return what it is doing and its time left, or None if it is done."""
        if self._done.wait(max(0.0, seconds)):
            return None
        return f"{self._outcome.name} of {self._key} ({self._doing}, at most {self._left():.1f} s more)"

    def finish(self) -> Reconciled:
        """Wait until it is done or its deadline has passed; return the outcome."""
        done = self._done.wait(self._left() + ATTEMPT_SECONDS_LEAST)
        found = self._outcome
        if done:
            return found
        why = f"deadline of {self._reconciler.deadline_seconds:g} s exceeded: {self._doing} has not returned"
        return msgspec.structs.replace(found, ok=False, why=_with_earlier(why, found.why))

    def stop(self) -> None:
        """Start no further attempt, and interrupt the current one if the reconciler can."""
        self._stop.set()
        if not self._done.is_set() and isinstance(self._reconciler, Interruptible):
            self._reconciler.interrupt()


def _unreconciled(name: str, key: str, why: str) -> Reconciled:
    return Reconciled(
        name, key, ok=False, changed=False, wanted=None, actual=None, attempts=0, seconds=0.0, why=why
    )  # fmt: skip


def _with_earlier(why: str, before: str) -> str:
    """Return why it ended, followed by the last failure before that."""
    return f"{why}; before that, {before}" if before else why


def _absent(name: str, key: str) -> Reconciled:
    return _unreconciled(
        name, key, f"this process has no reconciler named {name!r}: run `kedge recover` where its kedge.toml is"
    )


def head_pin(kernel: Kernel, key: str) -> Artifact | None:
    """Return the artifact that new sessions outside canaries see at a key."""
    record = kernel.backend.control.load()
    view = View(record.epoch, record.live, record.settled)
    head = kernel.read_present(lambda v: kernel.backend.journal.head(v, Key("artifacts", "", key)), view)
    return None if head is None or head.payload is None else unpack(head.payload)


class Reconciliation:
    """Concurrent reconciliation of several external systems, in the background of the caller."""

    def __init__(self, kernel: Kernel, wanted: Wanted, *, check: bool = False) -> None:
        pairs = [(name, key) for name, keys in sorted(wanted.items()) for key in keys]
        here = kernel.reconcilers
        self._absent = [_absent(name, key) for name, key in pairs if name not in here]
        self._followers = [_Follower(kernel, name, key, here[name], check=check) for name, key in pairs if name in here]

    def finish(self, tell: OnStep | None = None) -> tuple[Reconciled, ...]:
        """Wait until each is done or its deadline has passed; report a wait longer than half a second."""
        until = time.monotonic() + WAIT_MESSAGE_AFTER_SECONDS
        late = [still for follower in self._followers if (still := follower.progress(until - time.monotonic()))]
        if late and tell is not None:
            tell(f"waiting for {', '.join(late)}")
        return (*(follower.finish() for follower in self._followers), *self._absent)

    def __enter__(self) -> Self:
        """Return the work itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all attempts."""
        for follower in self._followers:
            follower.stop()


# ── after a change of the record ──


def moved_by(record: ControlRecord, entry: Entry) -> Wanted:
    """Return the artifacts that a change moved, by external system; systems no longer declared are left out."""
    return {name: keys for name, keys in entry.detail.get(DETAIL, {}).items() if name in record.reconcilers}


def note(kernel: Kernel, entry: Entry, outcomes: tuple[Reconciled, ...], tell: OnStep | None) -> None:
    """Journal the outcomes as a step of a change: success once, and failure once."""
    ok = all(outcome.ok for outcome in outcomes)
    kernel.backend.control.step(
        entry.operation,
        entry.kind + (RECONCILED if ok else NOT_RECONCILED),
        deployment=entry.deployment,
        by=entry.by,
        detail={"outcomes": msgspec.to_builtins(outcomes)},
    )
    if tell is not None:
        for outcome in outcomes:
            tell(_sentence(outcome))


def _sentence(outcome: Reconciled) -> str:
    if not outcome.ok:
        return f"NOT reconciled: {outcome.name} of {outcome.key}: {outcome.why}"
    if outcome.wanted is None:
        return f"{outcome.name}: no deployment pins {outcome.key}; left unchanged"
    how = f"brought to {outcome.wanted}" if outcome.changed else f"was already at {outcome.wanted}"
    return f"reconciled: {outcome.name} of {outcome.key} {how}"


def follow(kernel: Kernel, entry: Entry, tell: OnStep | None, wanted: Wanted | None = None) -> tuple[Reconciled, ...]:
    """Reconcile what a change moved, or the part given as `wanted`, and journal the outcome."""
    if wanted is None and entry.detail.get(DETAIL):
        wanted = moved_by(kernel.backend.control.load(), entry)
    if not wanted:
        return ()
    with Reconciliation(kernel, wanted) as work:
        outcomes = work.finish(tell)
    note(kernel, entry, outcomes, tell)
    return outcomes


# ── on demand ──


def reconcile(kernel: Kernel, name: str | None, *, check: bool, by: str | None) -> tuple[Reconciled, ...]:
    """Bring external systems to the pins, or only check: all, one reconciler, or those that follow one artifact."""
    who = actor(by)
    here = {each: reconciler.artifacts for each, reconciler in kernel.reconcilers.items()}
    declared = kernel.backend.control.load().reconcilers | here
    wanted = match(declared, _keys(kernel))
    if name is not None and name in declared:
        wanted = {name: wanted.get(name, [])}
    elif name is not None:
        wanted = {each: [name] for each, keys in wanted.items() if name in keys}
        if not wanted:
            known = [*declared, *(key for key in _keys(kernel) if any(follows(p, key) for p in declared.values()))]
            raise UnknownName(
                f"{name!r} is neither a reconciler nor an artifact that one follows{nearest(name, known)}"
            )
    with Reconciliation(kernel, wanted, check=check) as work:
        outcomes = work.finish()
    changed = [outcome for outcome in outcomes if outcome.changed]
    if changed:
        detail = {"outcomes": msgspec.to_builtins(changed)}
        kernel.backend.control.step(kernel.backend.clock.fresh_id(), "reconcile", by=who, detail=detail)
    return outcomes


def _keys(kernel: Kernel) -> list[str]:
    record = kernel.backend.control.load()
    view = View(record.epoch, record.live, record.settled)
    found = kernel.read_present(lambda v: kernel.backend.journal.range(v, "artifacts", "", payloads=False), view)
    return [head.key.name for head in found.heads]
