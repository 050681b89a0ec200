"""Automatic drill: a bad release is launched, found, degraded, rolled back and replayed, with no human step.

The helpdesk's agents answer questions; an evaluation that knows the right documents observes whether each session was
resolved. The release is a hastier prompt. A pilot in a process of its own launches it from a release file. The drill
only serves sessions, judges answers, and starts the next pilot where one was killed; afterwards it replays.
"""

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from kedge.drill.agents import COLLECTIONS, Task
from kedge.drill.automatic_checks import checks_of
from kedge.drill.content import visible
from kedge.drill.corpus import DOCUMENTS_DEFAULT
from kedge.drill.database import Database, Databases, Opener
from kedge.drill.embedder import GOOD
from kedge.drill.helpdesk import Say
from kedge.drill.in_place import rehearse_in_place
from kedge.drill.pilot_process import BEFORE_SESSIONS, STEPS, PilotProcess
from kedge.drill.quality import measure
from kedge.drill.questions import make_questions
from kedge.drill.rehearsed import Rehearsed
from kedge.drill.release import BASELINE, RELEASE, Embedders, baseline_artifacts
from kedge.drill.results import AutomaticReport, Quality
from kedge.drill.reviewer_process import LocalReviewer
from kedge.drill.run import InFolder
from kedge.drill.schedule import Schedule
from kedge.drill.serving import Serving
from kedge.drill.team import Team
from kedge.drill.trace import Trace
from kedge.errors import InvalidValue, KedgeError

ALL_STEPS = "all"
PROMPT = "answering/prompt"
METRIC = "resolved"
SESSIONS_MAX = 600  # of both arms; the release is found after a fifth of that
SESSIONS_AT_ONCE = 4  # few: each step of the guard is to be seen, also where the pilot is slow
PAUSE_SECONDS = 0.15
_HASTY_PROMPT = """\
You are the helpdesk for Python's standard library. Every document costs money.
Compare up to 0 documents with the question.
Trust what the team has noted, and do not look further."""
_TOML = """\
deployment = "{release}"
ramp = [0.5]
min_sessions = 20
soak = 0
alpha = 0.001
hold = 2
degrade = 3

[artifacts]
"{prompt}" = {{ file = "prompt.txt" }}

[metrics.{metric}]
kind = "success"
deadline = "4s"
"""


def rehearse_automatically(
    open_: Opener,
    *,
    folder: Path | None = None,
    databases: Databases | None = None,
    documents: int | None = DOCUMENTS_DEFAULT,
    kill_at: str | None = None,
    say: Say = lambda _: None,
) -> AutomaticReport:
    """Run the automatic drill on a new database: in `databases`, in `folder`, or in a temporary folder.

    `kill_at`: a step at which the pilot is killed (one of `STEPS`), or "all": one pilot is killed at each. `open_` must
    be importable by name, because the pilots open the database with it.
    """
    steps = check_steps(kill_at)
    began = time.perf_counter()
    with (
        tempfile.TemporaryDirectory(prefix="kedge-drill-") as files,
        nullcontext(folder) if folder is not None else nullcontext(Path(files) / "databases") as where,
    ):
        url = (databases or InFolder(Path(where))).address("automatic")
        drill = _Automatic(open_, url, Path(files), documents, steps, say)
        return drill.run(began)


def check_steps(kill_at: str | None) -> tuple[str, ...]:
    """Return the steps at which pilots are killed, or raise `InvalidValue`."""
    if kill_at is None:
        return ()
    if kill_at == ALL_STEPS:
        return STEPS
    if kill_at not in STEPS:
        raise InvalidValue(f"invalid step {kill_at!r}: must be {ALL_STEPS!r} or one of {', '.join(STEPS)}")
    return (kill_at,)


class _Automatic:
    def __init__(
        self, open_: Opener, url: str, folder: Path, documents: int | None, steps: Sequence[str], say: Say
    ) -> None:
        self._open, self._url, self._folder, self._say = open_, url, folder, say
        say("reading the standard library")
        self._documents = Serving.documents(documents)
        self._schedule = Schedule(make_questions(self._documents))
        self._embedders = Embedders(self._documents)
        self._trace = Trace((PROMPT,))
        self._steps = list(steps)
        self._killed: list[str] = []
        self._moments: list[tuple[float, str]] = []

    def run(self, began: float) -> AutomaticReport:
        """Run all stages; return the report."""
        self._say(f"{len(self._documents)} documents are stored; the drill in place, a gate of each launch, runs")
        with self._open(self._url, durability="normal") as k:
            self._set_up(k)
        rehearse_in_place(self._open, self._url)
        with self._open(self._url) as k:
            team = Team(k, self._trace, self._embedders, LocalReviewer(k), release=RELEASE)
            serving = Serving(k, team, METRIC, RELEASE)
            self._launch(k, serving)
            rehearsed = self._afterwards(k, serving)
        return self._report(rehearsed, time.perf_counter() - began)

    # ── before ──

    def _set_up(self, k: Database) -> None:
        k.deploy(BASELINE, baseline_artifacts(self._documents), note="what works")
        k.promote(BASELINE)
        k.settle(BASELINE)
        for collection in COLLECTIONS:
            k.collection(collection, dim=GOOD.dim)
        Team(k, self._trace, self._embedders, LocalReviewer(k)).store_documents(self._documents)

    def _release_file(self) -> Path:
        (self._folder / "prompt.txt").write_text(_HASTY_PROMPT, encoding="utf-8")
        path = self._folder / "release.toml"
        path.write_text(_TOML.format(release=RELEASE, prompt=PROMPT, metric=METRIC), encoding="utf-8")
        return path

    # ── the launch: sessions, their evaluation, and pilots ──

    def _launch(self, k: Database, serving: Serving) -> None:
        release, sessions = self._release_file(), self._sessions()
        self._say(f"kedge launch release.toml: {RELEASE} gets half of the new sessions")
        pilot = self._next_pilot(release)
        try:
            while not self._ended(k):
                if not pilot.is_running:
                    self._note_end(pilot)
                    pilot = self._next_pilot(release)
                elif self._may_serve(k):
                    serving.serve([next(sessions) for _ in range(SESSIONS_AT_ONCE)])
                    if serving.count > SESSIONS_MAX:
                        return  # the checks say that it was not found
                pilot.wait(PAUSE_SECONDS)
        finally:
            pilot.close()
        self._note_end(pilot)

    def _sessions(self) -> Iterator[list[Task]]:
        day = 0
        while True:
            day += 1
            yield from self._schedule.day(day, 200)

    def _next_pilot(self, release: Path) -> PilotProcess:
        return PilotProcess(self._open, self._url, release, self._steps[0] if self._steps else None)

    def _note_end(self, pilot: PilotProcess) -> None:
        """Note that a pilot was killed at its step: the next one is for the step after it."""
        if pilot.failed:
            raise KedgeError("a pilot of the drill ended with an error; see its traceback above")
        if pilot.was_killed and pilot.kill_at is not None and pilot.kill_at in self._steps:
            self._steps.remove(pilot.kill_at)
            self._killed.append(pilot.kill_at)
            self._moments.append((time.time(), f"the pilot was killed at {pilot.kill_at}"))
            self._say(f"the pilot was killed at {pilot.kill_at}; another one takes over")

    @staticmethod
    def _status(k: Database) -> Any:
        return next((launch for launch in k.guard.launches() if launch.name == RELEASE), None)

    def _ended(self, k: Database) -> bool:
        status = self._status(k)
        return status is not None and status.ended

    def _may_serve(self, k: Database) -> bool:
        """Whether the canary has begun, and every pilot that is killed before its first session was killed.

        Sessions that wait for a pilot are taken in one look: it would be rolled back without a step between.
        """
        if self._steps and self._steps[0] in BEFORE_SESSIONS:
            return False
        found = next((each for each in k.deployments() if each.name == RELEASE), None)
        return found is not None and str(found.status) == "canary"

    # ── afterwards ──

    def _afterwards(self, k: Database, serving: Serving) -> Rehearsed:
        self._trace.roll_back()
        status = self._status(k)
        after = visible(k, serving.scope)
        expected = self._trace.must_be_visible()
        pending = len(k.replay_pending(RELEASE))
        self._say(f"{pending} inputs are replayed")
        replay = k.replay(serving.again, RELEASE) if pending else None
        left = serving.finish(Team(k, Trace(), self._embedders, LocalReviewer(k)))
        found = k.guard.recompute(RELEASE)
        self._say("checking every invariant (fsck)")
        fsck = k.fsck(full=True)
        canary, baseline = serving.arms()
        quality = [
            Quality("during", "canary", *serving.judged("canary")),
            Quality("during", "baseline", *serving.judged("baseline")),
            measure("after", "canary, replayed", canary, lambda session: k.view(session=session).memory.history()),
        ]
        return Rehearsed(
            status=status, log=list(reversed(k.log(100_000))), serving=serving, after=after, expected=expected,
            pending=pending, replay=replay, unanswered=left, recomputed=found,
            fsck=[f"{each.where}: {each.message}" for each in fsck.findings], quality=quality,
            canary=len(canary), baseline=len(baseline), killed=list(self._killed), armed=list(self._steps),
            sees=[tasks[0].session for tasks in (*canary, *baseline) if RELEASE in k.assignment(tasks[0].session)],
            pending_after=len(k.replay_pending()), moments=self._moments,
        )  # fmt: skip

    def _report(self, found: Rehearsed, seconds: float) -> AutomaticReport:
        return AutomaticReport(
            release=RELEASE,
            documents=len(self._documents),
            canary_sessions=found.canary,
            baseline_sessions=found.baseline,
            python=sys.version.split()[0],
            seconds=round(seconds, 3),
            killed_at=found.killed,
            timeline=found.timeline(),
            quality=found.quality,
            level_recognition_seconds=found.level_recognition_seconds,
            rollback_commit_seconds=found.rollback_commit_seconds,
            replayed=0 if found.replay is None else len(found.replay.replayed),
            looks=found.recomputed.looks,
            checks=list(checks_of(found)),
        )


__all__ = ["ALL_STEPS", "rehearse_automatically"]
