"""Service of the automatic drill: sessions while a release is rolled back under them, their evaluation, and replay."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from kedge.drill.agents import ATTACHMENTS, COLLECTIONS, DOCUMENTS, Task
from kedge.drill.content import COUNT, Scope
from kedge.drill.corpus import Document, read_corpus
from kedge.drill.database import Database
from kedge.drill.quality import answers_of, is_right
from kedge.drill.team import Team
from kedge.drill.trace import Place
from kedge.errors import RolledBack
from kedge.recovery.replay import ReplayInput
from kedge.turns.turn import Turn

THREADS = 2


class Served(msgspec.Struct):
    """A session: its questions, its arm, whether all of its answers were right as the user saw them."""

    tasks: list[Task]
    arm: str
    right: int = 0
    is_judged: bool = False
    was_stopped: bool = False


class Serving:
    """Serves sessions, and observes for each whether it was resolved: an evaluation that knows the right documents."""

    def __init__(self, k: Database, team: Team, metric: str, release: str) -> None:
        self._k, self._team, self._metric, self._release = k, team, metric, release
        self._sessions: list[Served] = []
        self.level_seen_at: float | None = None  # when a canary session first had another level than full
        self.level_seen = ""
        self.acted_while_degraded = 0  # canary sessions below full that would have been allowed an irreversible act

    @staticmethod
    def documents(count: int | None) -> list[Document]:
        """Return the documents."""
        return read_corpus(count)

    @property
    def count(self) -> int:
        """How many sessions were served."""
        return len(self._sessions)

    @property
    def scope(self) -> Scope:
        """The places to compare."""
        return Scope((ATTACHMENTS, DOCUMENTS), COLLECTIONS, tuple(each.tasks[0].session for each in self._sessions))

    def interrupted(self, place: Place) -> bool:
        """Return whether a place belongs to a session that the rollback interrupted, or counts rows."""
        sessions = {each.tasks[0].session for each in self._sessions if each.was_stopped}
        return place.name == COUNT or place.space in sessions or any(name in place.name for name in sessions)

    @property
    def stopped(self) -> int:
        """How many sessions the rollback interrupted."""
        return sum(each.was_stopped for each in self._sessions)

    def serve(self, sessions: Sequence[list[Task]]) -> None:
        """Serve sessions, two at a time, and judge them."""
        with ThreadPoolExecutor(THREADS, thread_name_prefix="kedge-drill") as pool:
            self._sessions += pool.map(self._serve, sessions)

    def _serve(self, tasks: list[Task]) -> Served:
        session = tasks[0].session
        is_canary = self._release in self._k.assignment(session)
        served = Served(tasks, "canary" if is_canary else "baseline")
        try:
            if is_canary:
                self._look_at_level(session)
            self._team.serve(tasks)
            answers = answers_of(self._k.view(session=session).memory.history())
        except RolledBack:
            served.was_stopped = True
            return served
        served.right = sum(is_right(task, answers) for task in tasks)
        if is_canary and self._release not in self._k.assignment(session):
            served.was_stopped = True  # what was answered is hidden by now: the user saw it, the evaluation cannot
            return served
        served.is_judged = True
        self._k.observe(session=session, metric=self._metric, value=served.right == len(tasks))
        return served

    def _look_at_level(self, session: str) -> None:
        """Note what a canary session's turn is allowed, as a tool's wrapper would ask."""
        with self._k.turn(session=session, agent="answering") as turn:
            level = str(turn.level)
            if level == "full":
                return
            if self.level_seen_at is None:
                self.level_seen_at, self.level_seen = time.time(), level
            self.acted_while_degraded += turn.may("act", tool="refund", reversibility="irreversible")

    # ── what was found ──

    def arms(self) -> tuple[list[list[Task]], list[list[Task]]]:
        """Return the questions of the canary's sessions, and of the others."""
        canary = [each.tasks for each in self._sessions if each.arm == "canary"]
        return canary, [each.tasks for each in self._sessions if each.arm != "canary"]

    def judged(self, arm: str) -> tuple[int, int]:
        """Return how many questions of an arm were judged, and how many of them were right."""
        judged = [each for each in self._sessions if each.arm == arm and each.is_judged]
        return sum(len(each.tasks) for each in judged), sum(each.right for each in judged)

    # ── replay ──

    def again(self, turn: Turn, given: ReplayInput) -> None:
        """Process an input again: embed an attachment; answer a question that has no answer."""
        if given.store == "documents":
            self._team.again_attachment(turn, given.key, str(given.value))
            return
        history = turn.memory.history()
        at = next(place for place, message in enumerate(history) if message.seq == given.seq)
        number = sum(message.role == "user" for message in history[:at])
        if at + 1 < len(history) and history[at + 1].role != "user":
            return
        tasks = next(each.tasks for each in self._sessions if each.tasks[0].session == given.session)
        self._team.again(turn, msgspec.structs.replace(tasks[number], attachment=""))

    def finish(self, team: Team) -> list[str]:
        """Serve what the rollback interrupted; return the questions that still have no answer."""
        for served in self._sessions:
            if served.was_stopped:
                self._go_on(served, team)
        left = []
        for served in self._sessions:
            answers = answers_of(self._k.view(session=served.tasks[0].session).memory.history())
            left += [task.name for task in served.tasks if task.number not in answers]
        return left

    def _go_on(self, served: Served, team: Team) -> None:
        """Ask what was not asked, and answer what was not answered, as a user and an agent go on after an error."""
        history = self._k.view(session=served.tasks[0].session).memory.history()
        asked, answers = sum(message.role == "user" for message in history), answers_of(history)
        for task in served.tasks:
            if task.number >= asked:
                team.serve([task])
            elif task.number not in answers:
                with self._k.turn(session=task.session, agent="answering") as turn:
                    self._team.again(turn, msgspec.structs.replace(task, attachment=""))


__all__ = ["Served", "Serving"]
