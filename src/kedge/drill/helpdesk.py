"""The helpdesk scenario: a bad release is deployed, rolled back, and its effects are proved to be gone.

- Day 1: an ordinary day.
- Night: a release is staged, and its pipeline embeds everything again in its own space.
- Days 2 and 3: the release is a canary. Its answers are bad. The librarian learns from them, the reviewer rates them,
  and later sessions use both. A person corrects one fact.
- Then: plan, rollback, verification, replay, and day 4.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from kedge.drill.agents import ATTACHMENTS, COLLECTIONS, DOCUMENTS, Task, cache_key, topic_key
from kedge.drill.content import Content, Scope, digest, shared, visible
from kedge.drill.corpus import Document, read_corpus
from kedge.drill.database import Database, Databases, Opener
from kedge.drill.embedder import BAD, GOOD
from kedge.drill.probes import peek
from kedge.drill.quality import measure
from kedge.drill.questions import make_questions
from kedge.drill.release import BASELINE, RELEASE, Embedders, baseline_artifacts, release_artifacts
from kedge.drill.results import Quality
from kedge.drill.reviewer_process import LocalReviewer, ReviewerPool
from kedge.drill.schedule import Schedule
from kedge.drill.team import Team
from kedge.drill.trace import Trace
from kedge.drill.twins import Twin
from kedge.errors import InvalidValue
from kedge.recovery.plan import RollbackPlan
from kedge.recovery.replay import ReplayInput, ReplayReport
from kedge.recovery.rollback_report import RollbackReport
from kedge.turns.turn import Turn

WEIGHT = 0.3
DAY_1, DAY_2, DAY_3, DAY_4 = 1, 2, 3, 4
MAIN, STOPPED, CLEAN = "main", "stopped", "clean"
Sessions = list[list[Task]]
Say = Callable[[str], None]


class Setting(msgspec.Struct, frozen=True):
    """Input of a drill: documents, the questions of each day, and the number of threads."""

    documents: list[Document]
    days: dict[int, Sessions]
    threads: int

    @property
    def scope(self) -> Scope:
        """The places to compare: all that is written up to the end of day 3."""
        return Scope((ATTACHMENTS, DOCUMENTS), COLLECTIONS, tuple(t[0].session for t in self.of(DAY_1, DAY_2, DAY_3)))

    def of(self, *days: int) -> Sessions:
        """Return the sessions of these days."""
        return [tasks for day in days for tasks in self.days[day]]


class Launch(msgspec.Struct, frozen=True):
    """Results of the canary days."""

    canary: frozenset[str]
    corrected: str
    quality: list[Quality]


class Undone(msgspec.Struct, frozen=True):
    """Results of the rollback. Before it, a canary session saw `inside`, all others saw `outside`."""

    plan: RollbackPlan
    plan_seconds: float
    report: RollbackReport
    inside: Content
    outside: Content
    after: Content
    late_writer_stopped_by: str
    processes_agree: bool
    outsider_went_on: bool
    past_is_stable: bool
    cache_before: object
    cache_after: object
    expected: Content


class Redone(msgspec.Struct, frozen=True):
    """Results of the replay. `had_an_answer`: inputs whose answer was never hidden."""

    report: ReplayReport
    again: ReplayReport
    seconds: float
    after: Content
    questions: frozenset[str]
    had_an_answer: list[str]
    quality: Quality


class Story(msgspec.Struct, frozen=True):
    """Results of all steps of the scenario."""

    setting: Setting
    trace: Trace
    launch: Launch
    undone: Undone
    redone: Redone
    stopped: Twin
    clean: Twin
    quality: list[Quality]
    fsck: list[str]


def make_setting(*, documents: int | None, sessions: int, threads: int) -> Setting:
    """Read the documents and schedule the questions."""
    if sessions < 1 or threads < 1:
        raise InvalidValue(f"invalid sessions {sessions} or threads {threads}: must be at least 1")
    corpus = read_corpus(documents)
    schedule = Schedule(make_questions(corpus))
    quiet = max(1, sessions * 3 // 5)
    days = {
        DAY_1: schedule.day(DAY_1, quiet),
        DAY_2: schedule.day(DAY_2, sessions),
        DAY_3: schedule.day(DAY_3, sessions),
        DAY_4: schedule.day(DAY_4, quiet, like=DAY_1),  # the same questions as day 1, to compare before and after
    }
    return Setting(corpus, days, threads)


def run_scenario(open_: Opener, databases: Databases, setting: Setting, say: Say) -> Story:
    """Run the whole scenario on new databases, including the twins."""
    return _Drill(open_, databases, setting, say).run()


class _Drill:
    def __init__(self, open_: Opener, databases: Databases, setting: Setting, say: Say) -> None:
        self._open = open_
        self._databases = databases
        self._setting = setting
        self._say = say
        self._trace = Trace(release_artifacts())
        self._embedders = Embedders(setting.documents)

    def run(self) -> Story:
        before = self._ordinary_day()
        first_day = self._trace.fork()
        main = self._databases.address(MAIN)
        with self._open(main) as k, ReviewerPool(self._open, main) as reviewers:
            team = Team(k, self._trace, self._embedders, reviewers, release=RELEASE)
            self._release(k, team)
            launch = self._canary_days(k, team)
            undone = self._roll_back(k, reviewers, launch)
            self._trace.roll_back()
            stopped = self._twin(STOPPED, first_day.fork(), launch, self._trace.influenced())
            redone = self._replay(k, team, launch)
            clean = self._twin(CLEAN, first_day.fork(), launch, None)
            after = self._day_after(k, team)
            self._say("checking every invariant (fsck)")
            fsck = k.fsck(full=True)
        quality = [before, *launch.quality, redone.quality, after]
        findings = [] if fsck.ok else [f"{finding.where}: {finding.message}" for finding in fsck.findings]
        return Story(self._setting, self._trace, launch, undone, redone, stopped, clean, quality, findings)

    # ── day 1 ──

    def _ordinary_day(self) -> Quality:
        """Set up the database, run an ordinary day, and copy the database for the twins."""
        with self._open(self._databases.address(MAIN), durability="normal") as k:
            team = Team(k, self._trace, self._embedders, LocalReviewer(k))
            self._say(f"{len(self._setting.documents)} documents are stored")
            k.deploy(BASELINE, baseline_artifacts(self._setting.documents), note="what works")
            k.promote(BASELINE)
            k.settle(BASELINE)
            for collection in COLLECTIONS:
                k.collection(collection, dim=GOOD.dim)
            team.store_documents(self._setting.documents)
            self._say("day 1: an ordinary day")
            self._work(team, DAY_1)
            team.evening(DAY_1, _topics(self._setting.of(DAY_1)), inside=False)
            quality = _measured(k, "before", "everyone", self._setting.of(DAY_1))
        for twin in (STOPPED, CLEAN):
            self._databases.copy(MAIN, twin)
        return quality

    def _work(self, team: Team, day: int, *, threads: int | None = None) -> None:
        team.work(self._setting.of(day), threads=threads or self._setting.threads)

    # ── days 2 and 3 ──

    def _release(self, k: Database, team: Team) -> None:
        self._say(f"{RELEASE} is staged; its pipeline embeds all documents again")
        k.deploy(RELEASE, release_artifacts(), note="a cheaper embedder and a shorter prompt")
        team.backfill()
        k.canary(RELEASE, WEIGHT)

    def _canary_days(self, k: Database, team: Team) -> Launch:
        self._say(f"day 2: {RELEASE} serves {WEIGHT:.0%} of the new sessions")
        self._work(team, DAY_2)
        inside = [tasks for tasks in self._setting.of(DAY_2) if RELEASE in k.assignment(tasks[0].session)]
        if not inside:
            raise InvalidValue(f"none of {len(self._setting.of(DAY_2))} sessions is in the canary; use more sessions")
        team.evening(DAY_2, _topics(self._setting.of(DAY_2)), inside=False)
        team.evening(DAY_2, _topics(inside), inside=True)
        corrected = topic_key(DAY_2, _topics(inside)[0])
        team.correct(corrected, _CORRECTION)
        self._say("day 3: sessions use what was learned")
        self._work(team, DAY_3)
        both = self._setting.of(DAY_2, DAY_3)
        canary = frozenset(t[0].session for t in both if RELEASE in k.assignment(t[0].session))
        quality = [
            _measured(k, "during", "canary", [t for t in both if t[0].session in canary]),
            _measured(k, "during", "everyone else", [t for t in both if t[0].session not in canary]),
        ]
        return Launch(canary, corrected, quality)

    # ── the rollback ──

    def _roll_back(self, k: Database, reviewers: ReviewerPool, launch: Launch) -> Undone:
        scope = self._setting.scope
        inside, outside = visible(k, scope, deployment=RELEASE), visible(k, scope)
        past = digest(shared(k.at(f"before:{RELEASE}"), scope))
        victim = min(launch.canary)
        cache_before = self._cached(k, victim)
        reviewers.hold(victim)
        bystander = next(t[0].session for t in self._setting.of(DAY_3) if t[0].session not in launch.canary)
        with k.turn(session=bystander, agent="reviewer") as outsider:
            heard = outsider.memory.history()
            began = time.perf_counter()
            plan = k.plan(RELEASE)
            plan_seconds = time.perf_counter() - began
            self._say(f"rolling {RELEASE} back")
            report = k.rollback(RELEASE, reason="answer quality fell in the canary")
            outsider_went_on = outsider.memory.history() == heard
        after = visible(k, scope)
        return Undone(
            plan=plan,
            plan_seconds=plan_seconds,
            report=report,
            inside=inside,
            outside=outside,
            after=after,
            late_writer_stopped_by=reviewers.resume(),
            processes_agree=reviewers.all_see(scope, digest(after)),
            outsider_went_on=outsider_went_on,
            past_is_stable=digest(shared(k.at(f"before:{RELEASE}"), scope)) == past,
            cache_before=cache_before,
            cache_after=self._cached(k, victim),
            expected=self._trace.must_be_visible(),
        )

    def _cached(self, k: Database, session: str) -> object:
        """Return what retrieval's cache holds for a canary session's first question, None if nothing."""
        task = next(tasks[0] for tasks in self._setting.of(DAY_2, DAY_3) if tasks[0].session == session)
        with k.turn(session=session, agent="retrieval") as turn:
            return peek(turn, cache_key(BAD, task.text))

    # ── the twins ──

    def _twin(self, name: str, trace: Trace, launch: Launch, stops: dict[str, int] | None) -> Twin:
        """Run days 2 and 3 again on a copy, one session after the other, without the release."""
        self._say("a twin runs the same days " + ("up to each influenced read" if stops else "without the release"))
        inside = [tasks for tasks in self._setting.of(DAY_2) if tasks[0].session in launch.canary]

        def live(team: Team) -> None:
            if stops is not None:
                team.backfill()
            self._work(team, DAY_2, threads=1)
            team.evening(DAY_2, _topics(self._setting.of(DAY_2)), inside=False)
            if stops is not None:
                team.evening(DAY_2, _topics(inside), inside=True)
            team.correct(launch.corrected, _CORRECTION)
            self._work(team, DAY_3, threads=1)

        place = self._databases.address(name)
        return Twin(self._open, place, trace, self._embedders, live, self._setting.scope, stops=stops)

    # ── the replay, and the day after ──

    def _replay(self, k: Database, team: Team, launch: Launch) -> Redone:
        self._say("replaying the questions of the canary")
        handler = _Handler(self._setting, team)
        began = time.perf_counter()
        report = k.replay(handler, RELEASE)
        seconds = time.perf_counter() - began
        again = k.replay(handler, RELEASE)
        inside = [tasks for tasks in self._setting.of(DAY_2, DAY_3) if tasks[0].session in launch.canary]
        return Redone(
            report=report,
            again=again,
            seconds=seconds,
            after=visible(k, self._setting.scope),
            questions=frozenset(handler.questions),
            had_an_answer=handler.had_an_answer,
            quality=_measured(k, "after", "canary, replayed", inside),
        )

    def _day_after(self, k: Database, team: Team) -> Quality:
        self._say("day 4: the day after")
        self._work(team, DAY_4)
        return _measured(k, "after", "new sessions", self._setting.of(DAY_4))


class _Handler:
    """Replay handler: processes a question again unless it has an answer; embeds an attachment again."""

    def __init__(self, setting: Setting, team: Team) -> None:
        self._tasks = {tasks[0].session: tasks for tasks in setting.of(DAY_1, DAY_2, DAY_3)}
        self._team = team
        self.questions: list[str] = []
        self.had_an_answer: list[str] = []

    def __call__(self, turn: Turn, given: ReplayInput) -> None:
        if given.store == "documents":
            self._team.again_attachment(turn, given.key, str(given.value))
            return
        history = turn.memory.history()
        at = next(place for place, message in enumerate(history) if message.seq == given.seq)
        number = sum(message.role == "user" for message in history[:at])
        task = self._tasks[given.session or ""][number]
        if at + 1 < len(history) and history[at + 1].role != "user":
            self.had_an_answer.append(task.name)
            return
        self._team.again(turn, msgspec.structs.replace(task, attachment=""))  # the attachment is an input of its own
        self.questions.append(task.name)


_CORRECTION: dict[str, Any] = {"questions": 0, "often": None, "editor": "ask a person about this one"}


def _topics(sessions: Sequence[Sequence[Task]]) -> list[str]:
    return sorted({tasks[0].topic for tasks in sessions})


def _measured(k: Database, when: str, who: str, sessions: Sequence[Sequence[Task]]) -> Quality:
    return measure(when, who, sessions, lambda session: k.view(session=session).memory.history())


__all__ = [
    "DAY_1", "DAY_2", "DAY_3", "DAY_4", "RELEASE", "WEIGHT", "Launch", "Redone", "Say", "Setting", "Story", "Undone",
    "make_setting", "run_scenario",
]  # fmt: skip
