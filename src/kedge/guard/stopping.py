"""Stops: off, or another level, by a file of this host and by a recorded entry, and who has confirmed it."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from kedge.errors import KedgeError, OutcomeUnknown, UnknownName
from kedge.guard.level_changes import tighten
from kedge.model.attribution import owners_of, resembling
from kedge.model.ladder import LevelEntry, LevelSource, Scope
from kedge.model.levels import Level
from kedge.model.stop_file import StopLine, is_of_file
from kedge.model.visibility import View
from kedge.ports.clock import lease_clock
from kedge.recovery.recognition import RecordedStop, recognize
from kedge.support.display import Report
from kedge.turns.acts import count_leaks
from kedge.turns.kernel import Kernel
from kedge.turns.stop_files import Written, remove_stop

WAIT_SECONDS = 5.0
_RECENT = 1_000  # entries of the log in which a change is looked for


class StopReport(Report, frozen=True):
    """What a stop did, and what it could not do.

    `file` is the stop file of this host that was written, or None; `file_error` says what was not written of it.
    `recorded` is None where the database could not be changed: `record_error` says why.
    """

    scope: str
    level: Level
    by: str
    reason: str
    file: str | None
    file_error: str | None
    recorded: RecordedStop | None
    record_error: str | None

    @property
    def document(self) -> dict[str, object]:
        """The report as a JSON object, with the verdict and the indicators by name."""
        found: dict[str, object] = {"stop": self, "stopped": self.stopped, "ok": self.ok}
        if self.recorded is not None:
            seconds = self.recorded.recognition.level_recognition_seconds
            found |= {
                "level_commit_seconds": self.recorded.level_commit_seconds,
                "level_recognition_seconds": seconds,
                "level_leaks_total": self.recorded.level_leaks_total,
                "unconfirmed": [member.name for member in self.recorded.recognition.unconfirmed],
            }
        return found

    @property
    def stopped(self) -> bool:
        """Whether it stops anything at all: by the file, by the record, or by both."""
        return self.file is not None or self.recorded is not None

    @property
    def ok(self) -> bool:
        """Whether it is recorded, and no member is unconfirmed."""
        return self.recorded is not None and not self.recorded.recognition.unconfirmed

    def __str__(self) -> str:
        """Return the verdict in one line."""
        if not self.stopped:
            return f"nothing was stopped: {self.file_error}; {self.record_error}"
        if self.recorded is None:
            return f"{self.level} for {self.scope} on this host only, by {self.file}; not recorded: {self.record_error}"
        return f"{self.level} for {self.scope}: {self.recorded}"


class Stopping(Protocol):
    """An open database, as far as a stop needs it."""

    def stop(self, level: Level, scope: Scope, *, reason: str, by: str | None, wait: float | None) -> RecordedStop:
        """Record a stop, and wait for the members."""


def stop(
    open_ladder: Callable[[], AbstractContextManager[Stopping]],
    line: StopLine,
    written: Written,
    *,
    reason: str,
    by: str,
    wait: float | None,
) -> StopReport:
    """Record a stop whose file was written; report both, also where the database does not answer."""
    recorded, why = None, None
    try:
        with open_ladder() as ladder:
            recorded = ladder.stop(line.level, line.scope, reason=reason, by=by, wait=wait)
    except KedgeError as error:
        if not written.is_stopped and isinstance(error, UnknownName | OutcomeUnknown):
            raise
        why = str(error)
    file = None if written.path is None or not written.is_stopped else str(written.path)
    return StopReport(str(line.scope), line.level, by, reason, file, written.error, recorded, why)


def record(
    kernel: Kernel, level: object, scope: object, *, reason: str, by: str, wait_seconds: float | None
) -> RecordedStop:
    """Record a stop, measure its commit, and wait for the members."""
    clock = lease_clock(kernel.backend.clock)
    began = time.perf_counter()
    entry = tighten(kernel, level, scope, source=LevelSource.FILE, by=by, reason=reason)
    seconds, committed_at = time.perf_counter() - began, clock.elapsed()
    epoch = kernel.backend.control.epoch()
    found = recognize(kernel, epoch, committed_at=committed_at, wait_seconds=wait_seconds)
    return RecordedStop(
        entry, epoch, committed_at, seconds, leaks_since(kernel, epoch), found, _resembling(kernel, entry.scope)
    )


def _resembling(kernel: Kernel, scope: Scope) -> str | None:
    """Return the agent with artifacts that a feature without any may be a slip of."""
    if scope.kind != "feature":
        return None
    owners = owners_of(kernel.backend.attribution.artifact_names())
    return None if scope.name in owners else resembling(scope.name, owners)


def leaks_since(kernel: Kernel, epoch: int) -> int:
    """Return how many acts the log has after the change to an epoch that are stamped with an older one."""
    changes = kernel.backend.control.entries(limit=_RECENT)
    seq = next((change.seq for change in changes if change.epoch == epoch and not change.is_step), None)
    if seq is None:
        return 0  # what it stands on is older than any act that is still under way
    record = kernel.backend.control.load()
    present = View(record.epoch, record.live, record.settled)
    return kernel.read_present(lambda view: count_leaks(kernel.backend.journal, view, epoch, seq), present)


class ReleaseReport(Report, frozen=True):
    """What a release lifted: recorded entries, and lines of this host's stop files; and what it could not change.

    `left` are the stops of other scopes that still stand, in the database or in a stop file of this host.
    """

    scope: str
    by: str
    reason: str
    lifted: tuple[LevelEntry, ...]
    files: tuple[str, ...] = ()
    file_errors: tuple[str, ...] = ()
    left: tuple[LevelEntry, ...] = ()

    def __str__(self) -> str:
        """Return the verdict in one line."""
        parts = [f"lifted {entry.id} ({entry.level} for {entry.scope})" for entry in self.lifted]
        parts += [f"removed {self.scope} from {path}" for path in self.files]
        parts += [f"a stop file is as it was: {error}" for error in self.file_errors]
        left = ", ".join(dict.fromkeys(f"{entry.level} for {entry.scope}" for entry in self.left))
        said = "; ".join(parts) or f"no stop of {self.scope} here"
        return f"{said}; still stopped: {left}" if left else said


class Releasing(Protocol):
    """An open database, as far as a release needs it."""

    def list(self, scope: Scope | None = None) -> list[LevelEntry]:
        """Return the entries, all or those of a scope."""

    def loosen(self, entry: LevelEntry, *, reason: str, by: str) -> object:
        """Lift an entry."""


def release(ladder: Releasing, scope: Scope, paths: Sequence[Path], *, reason: str, by: str) -> ReleaseReport:
    """Lift the recorded stops of a scope, then take it out of stop files."""
    lifted = tuple(entry for entry in ladder.list(scope) if entry.source is LevelSource.FILE and not is_of_file(entry))
    for entry in lifted:
        ladder.loosen(entry, reason=reason, by=by)
    files, failed = [], []
    for path in paths:
        try:
            if remove_stop(path, scope):
                files.append(str(path))
        except OSError as error:
            failed.append(f"{path}: {error.strerror or error}")
    left = tuple(one for one in ladder.list() if one.source is LevelSource.FILE and one.scope != scope)
    return ReleaseReport(str(scope), by, reason, lifted, tuple(files), tuple(failed), left)
