"""Answer quality, measured from the stored conversations."""

from collections.abc import Callable, Mapping, Sequence

from kedge.drill.agents import Task, named_document
from kedge.drill.results import Quality
from kedge.stores.memory import Message

Histories = Callable[[str], Sequence[Message]]


def measure(when: str, who: str, sessions: Sequence[Sequence[Task]], histories: Histories) -> Quality:
    """Return how many questions of these sessions have an answer that names the right document."""
    questions = right = 0
    for tasks in sessions:
        answers = answers_of(histories(tasks[0].session))
        for task in tasks:
            questions += 1
            right += is_right(task, answers)
    return Quality(when, who, questions, right)


def is_right(task: Task, answers: Mapping[int, str]) -> bool:
    """Return whether a question's answer names the right document."""
    return named_document(answers.get(task.number, "")) == task.right


def answers_of(messages: Sequence[Message]) -> dict[int, str]:
    """Return the answers by the number of the question that they follow."""
    answers: dict[int, str] = {}
    number = -1
    for message in messages:
        if message.role == "user":
            number += 1
        else:
            answers[number] = str(message.content)
    return answers


__all__ = ["Histories", "answers_of", "is_right", "measure"]
