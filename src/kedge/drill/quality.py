"""Answer quality, measured from the stored conversations."""

from collections.abc import Callable, Sequence

from kedge.drill.agents import Task, named_document
from kedge.drill.results import Quality
from kedge.stores.memory import Message

Histories = Callable[[str], Sequence[Message]]


def measure(when: str, who: str, sessions: Sequence[Sequence[Task]], histories: Histories) -> Quality:
    """Return how many questions of these sessions have an answer that names the right document."""
    questions = right = 0
    for tasks in sessions:
        answers = _answers(histories(tasks[0].session))
        for task in tasks:
            questions += 1
            right += named_document(answers.get(task.number, "")) == task.right
    return Quality(when, who, questions, right)


def _answers(messages: Sequence[Message]) -> dict[int, str]:
    """Return the answers by the number of the question that they follow."""
    answers: dict[int, str] = {}
    number = -1
    for message in messages:
        if message.role == "user":
            number += 1
        else:
            answers[number] = str(message.content)
    return answers


__all__ = ["Histories", "measure"]
