"""Schedule of questions by day and session; deterministic for the same documents."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from kedge.drill.agents import Task
from kedge.drill.questions import Question, rephrase
from kedge.errors import InvalidValue

QUESTIONS_PER_SESSION = 2
_QUESTIONS_PER_TOPIC_MIN = 3
_TOPICS_MIN = 3
_TOPICS_MAX = 80
_ATTACHMENT_EVERY = 4


class Schedule:
    """Questions by topic, most frequent topics first."""

    def __init__(self, questions: Sequence[Question]) -> None:
        by_topic: dict[str, list[Question]] = defaultdict(list)
        for question in questions:
            by_topic[question.topic].append(question)
        askable = [topic for topic, found in by_topic.items() if len(found) >= _QUESTIONS_PER_TOPIC_MIN]
        self._topics = sorted(askable, key=lambda topic: (-len(by_topic[topic]), topic))[:_TOPICS_MAX]
        self._by_topic = by_topic
        if len(self._topics) < _TOPICS_MIN:
            raise InvalidValue(
                f"only {len(self._topics)} topics in the documents, need {_TOPICS_MIN}; use more documents"
            )

    def day(self, day: int, sessions: int, *, like: int | None = None) -> list[list[Task]]:
        """Return a day's sessions with their questions; with `like`, the questions of that day, rephrased."""
        return [self._session(day, number, like or day) for number in range(sessions)]

    def _session(self, day: int, number: int, like: int) -> list[Task]:
        session = f"d{day}-{number:03d}"
        asked_like = f"d{like}-{number:03d}"
        topic = self._topics[int(len(self._topics) * _draw(f"{asked_like} topic") ** 2)]
        askable = self._by_topic[topic]
        first = int(len(askable) * _draw(f"{asked_like} question") ** 2)
        tasks = []
        for asked in range(QUESTIONS_PER_SESSION):
            question = askable[(first + asked) % len(askable)]
            worded = rephrase(question, int(6 * _draw(f"{session} {asked} words")))
            attachment = ""
            if asked == 0 and number % _ATTACHMENT_EVERY == 0:
                attachment = f"What I tried with {topic}, on day {day}, before I asked: {worded.text}"
            tasks.append(Task(session, asked, day, topic, worded.text, question.right, attachment))
        return tasks


def _draw(what: str) -> float:
    """Return a number in 0..1, from a hash of the text."""
    return int.from_bytes(hashlib.sha256(what.encode()).digest()[:6], "big") / 2**48


__all__ = ["QUESTIONS_PER_SESSION", "Schedule"]
