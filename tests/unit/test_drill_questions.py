"""The drill's questions: known answers, and a fixed schedule of who asks them."""

import pytest

from kedge.drill.corpus import Document, read_corpus
from kedge.drill.embedder import stems
from kedge.drill.questions import Question, make_questions, rephrase
from kedge.drill.schedule import QUESTIONS_PER_SESSION, Schedule
from kedge.errors import InvalidValue


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    return make_questions(read_corpus(1500))


def test_a_question_is_in_the_words_of_its_document_only() -> None:
    telling = "The walrus and the carpenter were walking close at hand."
    shared = "They wept like anything to see such quantities of sand."
    documents = [
        Document("a.one", "a", f"a.one()\n\nFirst line.\n\n{telling} {shared}"),
        Document("a.two", "a", f"a.two()\n\nFirst line.\n\nNothing of note. {shared}"),
    ]
    (question,) = make_questions(documents)
    assert question.right == "a.one"
    assert set(stems(question.text)) <= set(stems(telling))


def test_questions_do_not_name_their_answer(questions: list[Question]) -> None:
    assert len(questions) > 100
    assert not [q for q in questions if set(stems(q.right.rpartition(".")[2])) & set(stems(q.text))]
    assert len({q.right for q in questions}) == len(questions)


def test_rephrasing_keeps_the_answer_and_most_words(questions: list[Question]) -> None:
    for question in questions[:50]:
        again = rephrase(question, 2)
        assert (again.right, again.topic) == (question.right, question.topic)
        assert again.text != question.text
        assert len(again.text.split()) == len(question.text.split()) - 1


def test_a_day_is_the_same_every_time_and_a_like_day_asks_the_same_otherwise(questions: list[Question]) -> None:
    schedule = Schedule(questions)
    day = schedule.day(1, 12)
    assert day == Schedule(questions).day(1, 12)
    assert all(len(tasks) == QUESTIONS_PER_SESSION for tasks in day)
    assert len({tasks[0].session for tasks in day}) == 12
    like = schedule.day(4, 12, like=1)
    assert [[task.right for task in tasks] for tasks in like] == [[task.right for task in tasks] for tasks in day]
    assert [[task.text for task in tasks] for tasks in like] != [[task.text for task in tasks] for tasks in day]
    assert any(task.attachment for tasks in day for task in tasks)


def test_too_few_documents_are_refused() -> None:
    with pytest.raises(InvalidValue, match="more documents"):
        Schedule([Question("one two?", "a", "a.b")])
