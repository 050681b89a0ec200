"""The stop drill: agents in several processes are stopped, cannot release the stop, and a person does."""

import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path

import msgspec

from kedge.drill.database import Database, Databases, StopOpener
from kedge.drill.helpdesk import Say
from kedge.drill.results import SHAPE, Check
from kedge.drill.stop_workers import TOOL, Act, Seen, StopWorkers, now
from kedge.errors import KedgeError, NotPermitted, UnknownName
from kedge.model.address import locate
from kedge.model.levels import Level
from kedge.model.stop_file import ALL_OFF
from kedge.recovery.recognition import RecordedStop
from kedge.turns.stop_files import remove_stop, write_stop

WORKERS = 3
ACTS_FIRST = 20  # of each worker, before it is stopped
FEATURE = "drill-support"
_WAIT_SECONDS = 30.0
_QUIET_SECONDS = 0.25  # watched after the last process has stopped
_LOOK_SECONDS = 0.02
_REASON = "rehearsal of a stop"


class Negative(msgspec.Struct, frozen=True):
    """What an agent tried, in its own process, and the error that it got; "done" where it got none."""

    member: str
    attempt: str
    outcome: str


class OutOfBand(msgspec.Struct, frozen=True):
    """The stop by file: whether the database was locked, and the seconds until each process refused acts."""

    database: str
    file: str
    seconds: dict[str, float]


class Recovery(msgspec.Struct, frozen=True):
    """The end of the stop: who signed off, how many acts followed in each process, and what fsck found."""

    signed_off_by: str
    acts: dict[str, int]
    findings: int


class StopDrillReport(msgspec.Struct, frozen=True):
    """Evidence of a rehearsed stop. Times are seconds."""

    url: str
    python: str
    began: float
    authority: str
    processes: int
    level_commit_seconds: float
    level_recognition_seconds: dict[str, float | None]
    recognition_by_member: dict[str, float]
    unconfirmed: list[str]
    last_act_seconds: float | None
    in_flight: list[str]
    acts_before: int
    acts_after_recognition: int
    level_leaks_total: int
    negative_test: list[Negative]
    out_of_band: OutOfBand | None
    recovery: Recovery | None
    seconds: float
    checks: list[Check]
    scenario: str = "stop"
    shape: int = SHAPE

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return bool(self.checks) and all(check.passed for check in self.checks)


def rehearse_stop(
    open_: StopOpener, *, authority: str, databases: Databases | None = None, say: Say = lambda _: None
) -> StopDrillReport:
    """Rehearse a stop on a new database, in `databases` or in a temporary folder, and return the evidence.

    `authority` is the person who stops and signs off. `open_` must be importable by name: other processes use it.
    """
    with tempfile.TemporaryDirectory(prefix="kedge-drill-") as where:
        url = str(Path(where) / "stop") if databases is None else databases.address("stop")
        stop_file = Path(where) / "STOP"
        with open_(url, stop_file=str(stop_file)) as k:
            k.deploy("drill-v1", {f"{FEATURE}/prompt": "Act."})
            k.promote("drill-v1")
            say(f"{WORKERS} processes act")
            with StopWorkers(open_, url, str(stop_file), FEATURE, WORKERS) as workers:
                return _Rehearsal(k, workers, stop_file, authority, say).run()


class _Rehearsal:
    def __init__(self, k: Database, workers: StopWorkers, stop_file: Path, authority: str, say: Say) -> None:
        self._k, self._workers, self._stop_file, self._authority, self._say = k, workers, stop_file, authority, say
        self._checks: list[Check] = []
        self._seen: dict[str, Seen] = {}

    def run(self) -> StopDrillReport:
        began, at = time.perf_counter(), time.time()
        self._until(lambda seen: len(seen.acts) >= ACTS_FIRST, "the processes did not act")
        recorded, committed_at = self._stop()
        acts = {name: seen.acts for name, seen in self._seen.items()}
        after = self._check_acts(recorded, committed_at, acts)
        negative = self._try_as_agent(recorded)
        self._check_words()
        self._let_go(recorded)
        out_of_band = self._stop_by_file()
        recovery = self._sign_off()
        found = recorded.recognition
        later = [act.permitted_at - committed_at for done in acts.values() for act in done]
        return StopDrillReport(
            url=self._k.url,
            python=".".join(map(str, sys.version_info[:3])),
            began=at,
            authority=self._authority,
            processes=WORKERS,
            level_commit_seconds=recorded.level_commit_seconds,
            level_recognition_seconds=found.level_recognition_seconds,
            recognition_by_member=found.by_member,
            unconfirmed=[member.name for member in found.unconfirmed],
            last_act_seconds=max((seconds for seconds in later if seconds > 0), default=None),
            in_flight=_in_flight(acts, committed_at),
            acts_before=sum(act.permitted_at <= committed_at for done in acts.values() for act in done),
            acts_after_recognition=after,
            level_leaks_total=recorded.level_leaks_total,
            negative_test=negative,
            out_of_band=out_of_band,
            recovery=recovery,
            seconds=time.perf_counter() - began,
            checks=self._checks,
        )

    # ── steps ──

    def _stop(self) -> tuple[RecordedStop, float]:
        self._say("everything is turned off")
        recorded = self._k.ladder.stop("off", reason=_REASON, by=self._authority, wait=_WAIT_SECONDS)
        committed_at = recorded.committed_at
        self._until(lambda seen: seen.off_at is not None, "the processes did not find their level off")
        time.sleep(_QUIET_SECONDS)
        self._look()
        late = [member.name for member in recorded.recognition.unconfirmed]
        self._check("confirmed", "every process confirmed the stop", not late, ", ".join(late) or "all did")
        return recorded, committed_at

    def _check_acts(self, recorded: RecordedStop, committed_at: float, acts: dict[str, list[Act]]) -> int:
        """Check that no process acted after it had confirmed, and none with an older epoch once it was committed."""
        after = sum(
            act.permitted_at - committed_at > recorded.recognition.by_member.get(name, 0.0)
            for name, done in acts.items()
            for act in done
        )
        self._check("no_act_after", "no process acted after it had confirmed", after == 0, f"{after} acts")
        leaks = recorded.level_leaks_total
        self._check("no_leak", "the log has no later act of an older epoch", leaks == 0, f"{leaks} acts")
        return after

    def _try_as_agent(self, recorded: RecordedStop) -> list[Negative]:
        self._say("the agents try to release the stop")
        found = [
            Negative(name, attempt, outcome)
            for name, worker in zip(sorted(self._seen), self._workers.all, strict=True)
            for attempt, outcome in worker.attempt(recorded.entry.id).items()
        ]
        through = [one.attempt for one in found if one.outcome != "NotPermitted"]
        is_off = self._k.ladder.effective(FEATURE) is Level.OFF
        self._check(
            "agents_cannot_release",
            "no agent could release the stop",
            is_off and not through,
            ", ".join(through) or "all refused",
        )
        return found

    def _check_words(self) -> None:
        """Check that a user's words are recorded while all is off, and an agent's are not."""
        refused = ""
        with self._k.turn(session="drill-words", agent=FEATURE) as turn:
            turn.memory.append("user", "Is anybody there?")
            try:
                turn.memory.append("assistant", "Yes.")
            except NotPermitted as error:
                refused = type(error).__name__
            words = [message.role for message in turn.memory.history()]
        good = words == ["user"] and bool(refused)
        self._check("words_kept", "a user's words are recorded, an agent's are refused", good, f"recorded: {words}")

    def _let_go(self, recorded: RecordedStop) -> None:
        self._say(f"{self._authority} releases the stop")
        with suppress(UnknownName):  # an agent has released the stop, which is a failed check
            self._k.ladder.loosen(recorded.entry.id, reason=_REASON, by=self._authority)
        self._until(lambda seen: seen.full_at is not None and bool(seen.acts), "the processes did not act again")

    def _stop_by_file(self) -> OutOfBand:
        is_file = "://" not in self._k.url or self._k.url.startswith("sqlite:")
        state = "locked" if is_file else "reachable"
        self._say(f"everything is turned off by a file; the database is {state}")
        self._look()
        with _locked(self._k.url) if is_file else nullcontext():
            began = now()
            write_stop(self._stop_file, ALL_OFF)
            self._until(lambda seen: seen.off_at is not None, "the processes did not see the stop file")
        seconds = {name: (seen.off_at or began) - began for name, seen in self._seen.items()}
        self._check("file", f"a file stopped every process; the database was {state}", bool(seconds), _told(seconds))
        return OutOfBand(state, str(self._stop_file), seconds)

    def _sign_off(self) -> Recovery:
        remove_stop(self._stop_file)
        self._until(lambda seen: seen.full_at is not None and len(seen.acts) > 0, "the processes did not act again")
        acts = {name: len(seen.acts) for name, seen in self._seen.items()}
        findings = len(self._k.fsck(full=True).findings)
        good = findings == 0 and self._k.ladder.effective(FEATURE) is Level.FULL
        self._check("recovered", "every process acts again, and fsck finds nothing", good, f"{findings} findings")
        return Recovery(self._authority, acts, findings)

    # ── the workers ──

    def _until(self, found: Callable[[Seen], bool], failed: str) -> None:
        """Look until it holds for what each worker has done since now."""
        self._seen = {}
        deadline = time.monotonic() + _WAIT_SECONDS
        while not (self._look() and all(map(found, self._seen.values()))):
            if time.monotonic() > deadline:
                raise KedgeError(f"{failed} within {_WAIT_SECONDS:g} s: {[s.refusal for s in self._seen.values()]}")
            time.sleep(_LOOK_SECONDS)

    def _look(self) -> bool:
        """Add what each worker has done since the last look."""
        for seen in self._workers.look():
            known = self._seen.get(seen.member, Seen(seen.member))
            self._seen[seen.member] = Seen(
                seen.member,
                known.acts + seen.acts,
                known.off_at or seen.off_at,
                known.full_at or seen.full_at,
                known.refusal or seen.refusal,
            )
        return True

    def _check(self, name: str, claim: str, passed: bool, detail: str) -> None:  # noqa: FBT001 - read at a glance
        self._checks.append(Check(name, claim, passed, detail))


def _in_flight(acts: dict[str, list[Act]], committed_at: float) -> list[str]:
    """Return the acts that had begun when the stop was committed, and had not ended."""
    return [
        f"{name}: {TOOL}, epoch {act.epoch}, begun {(committed_at - act.permitted_at) * 1e3:.1f} ms before, ended "
        f"{(act.ended_at - committed_at) * 1e3:.1f} ms after"
        for name, done in sorted(acts.items())
        for act in done
        if act.permitted_at <= committed_at < act.ended_at
    ]


def _told(seconds: dict[str, float]) -> str:
    return f"slowest {max(seconds.values(), default=0.0) * 1e3:.0f} ms"


@contextmanager
def _locked(url: str) -> Iterator[None]:
    """Hold the write lock of a SQLite database, as a process that hangs does."""
    with closing(sqlite3.connect(locate(url), isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
