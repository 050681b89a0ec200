"""Questions with known answers: sentences from inside a docstring, with words left out."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec

from kedge.drill.corpus import Document
from kedge.drill.embedder import stems, words

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n\s*\n")
_WORDS_MIN = 6
_WORDS_MAX = 24
_EVERY_NTH_WORD_DROPPED = 3


class Question(msgspec.Struct, frozen=True):
    """What a user asks. `right` is the id of the document that holds the answer."""

    text: str
    topic: str
    right: str


def make_questions(documents: Sequence[Document]) -> list[Question]:
    """Return one question for each document with a suitable sentence after its first one, in hash order.

    A sentence is asked only if no other document holds it, so that exactly one answer is right.
    """
    holders: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for document in documents:
        for sentence in _sentences(document.text):
            holders[tuple(stems(sentence))].add(document.id)
    made = []
    for document in documents:
        later = _sentences(document.text)[1:]
        tellable = [s for s in later if _is_askable(s) and holders[tuple(stems(s))] == {document.id}]
        if tellable:
            sentence = max(tellable, key=lambda s: (len(set(stems(s))), s))
            made.append(Question(_paraphrase(sentence, document.id), document.topic, document.id))
    return sorted(made, key=lambda question: _order(question.right))


def rephrase(question: Question, times: int) -> Question:
    """Return another wording of the question: drop one word and rotate the rest."""
    kept = question.text.rstrip("?").split()
    dropped = times % len(kept)
    turned = kept[dropped + 1 :] + kept[:dropped]
    return Question(" ".join(turned) + "?", question.topic, question.right)


def _sentences(text: str) -> list[str]:
    return _SENTENCE_END.split(text.partition("\n\n")[2])


def _is_askable(sentence: str) -> bool:
    return _WORDS_MIN <= len(words(sentence)) <= _WORDS_MAX and ">>>" not in sentence


def _paraphrase(sentence: str, id: str) -> str:
    name = set(stems(id.rpartition(".")[2]))
    return " ".join(_kept(words(sentence), name)) + "?"


def _kept(all_words: list[str], left_out: set[str]) -> Iterator[str]:
    """Yield the words without those of the answer's own name and without every third, but never fewer than four."""
    telling = [word for word in all_words if not left_out & set(stems(word))]
    for position, word in enumerate(telling):
        if position % _EVERY_NTH_WORD_DROPPED != 1 or len(telling) < _WORDS_MIN:
            yield word


def _order(id: str) -> bytes:
    return hashlib.sha256(b"question\0" + id.encode()).digest()


__all__ = ["Question", "make_questions", "rephrase"]
