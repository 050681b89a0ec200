"""The five deterministic agents of the helpdesk; each works through a `TracedTurn`.

- *reception* opens a ticket and routes it;
- *retrieval* finds documents and learned answers;
- *answering* chooses a document and writes the answer;
- the *librarian* stores a fact for every answer, for the following days;
- the *reviewer* reads what the others wrote and rates it.

The release contains only answering's prompt, and the embedder that retrieval and the librarian use. The librarian,
the reviewer and reception are contaminated only by what they read and by their callers.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from kedge.drill.embedder import EmbedderConfig, Vector, stems
from kedge.drill.release import EMBEDDER_KEY, Embedders, Prompt, read_prompt
from kedge.drill.traced_turn import TracedTurn, fingerprint

DOCUMENTS = "kb"
ATTACHMENTS = "attachments"
LEARNED = "learned"
COLLECTIONS = (ATTACHMENTS, DOCUMENTS, LEARNED)
_LEARNED_NEIGHBOURS = 3
_SAME_QUESTION = 0.5
_SIMILAR_QUESTION = 0.25
_SAME_TOPIC_BONUS = 0.1


class Task(msgspec.Struct, frozen=True):
    """One question of one session. `attachment` is a text that comes with it, or empty."""

    session: str
    number: int
    day: int
    topic: str
    text: str
    right: str
    attachment: str = ""

    @property
    def name(self) -> str:
        """The question's name within its session."""
        return f"{self.session}-{self.number}"


class Found(msgspec.Struct, frozen=True):
    """Result of retrieval: ids of documents, nearest first, and of those that answered similar questions."""

    documents: list[str]
    learned: list[str]


class Answer(msgspec.Struct, frozen=True):
    """An answer: the document that it names."""

    document: str

    @property
    def text(self) -> str:
        """The text of the answer."""
        return f"See {self.document}." if self.document else "I do not know."


def named_document(answer: str) -> str:
    """Return the document that an answer names, empty if none."""
    return answer.removeprefix("See ").removesuffix(".") if answer.startswith("See ") else ""


def receive(traced: TracedTurn, task: Task) -> None:
    """Reception: open a ticket (nothing read yet), then route it by the librarian's summary of the day before."""
    traced.share(f"tickets/{task.name}", {"topic": task.topic, "words": len(task.text.split())})
    noted = traced.fact(topic_key(task.day - 1, task.topic))
    traced.share(f"routes/{task.name}", {"topic": task.topic, "try_first": noted["often"] if noted else None})


def store_input(traced: TracedTurn, task: Task) -> None:
    """Answering, first step: store the user's question and attachment. Both are source writes."""
    traced.ask(task.number, task.text)
    if task.attachment:
        traced.attach(ATTACHMENTS, task.name, task.attachment)


def retrieve(traced: TracedTurn, task: Task, embedders: Embedders, limit: int) -> Found:
    """Retrieval: return the documents nearest to the question, and answers learned on earlier days."""
    pinned = traced.artifact(EMBEDDER_KEY)
    embedder = embedders.pinned(pinned)
    cached = traced.cached(cache_key(embedder.config, task.text), lambda: embedder.embed(task.text).tolist())
    vector: Vector = np.asarray(cached, np.float32)
    documents = [hit.id for hit in traced.search(DOCUMENTS, vector, limit)]
    earlier = {"day": {"lt": task.day}, "topic": task.topic}
    learned = traced.search(LEARNED, vector, _LEARNED_NEIGHBOURS, earlier)
    if task.attachment:
        embed_attachment(traced, task.name, task.attachment, embedders)
    return Found(documents, [hit.payload["document"] for hit in learned if hit.score >= _SAME_QUESTION])


def embed_attachment(traced: TracedTurn, id: str, text: str, embedders: Embedders) -> None:
    """Retrieval: make an attachment searchable."""
    embedder = embedders.pinned(traced.artifact(EMBEDDER_KEY))
    traced.embed(ATTACHMENTS, [id], embedder.embed_all([text]), [{"words": len(text.split())}])


def answer(traced: TracedTurn, task: Task, found: Found) -> Answer:
    """Answering, last step: choose a document as the prompt says, and store the answer."""
    prompt = read_prompt(traced.artifact("answering/prompt"))
    spoken = traced.history(task.number)
    notes = [note for day in range(1, task.day) for note in traced.facts(facts_prefix(day, task.topic)).values()]
    chosen = Answer(_choose(traced, task, found, notes, spoken, prompt))
    traced.answer(task.number, chosen.text)
    traced.observe("answered_right", value=chosen.document == task.right)
    return chosen


def _choose(
    traced: TracedTurn,
    task: Task,
    found: Found,
    notes: Sequence[Mapping[str, Any]],
    spoken: Sequence[tuple[str, str]],
    prompt: Prompt,
) -> str:
    asked = set(stems(task.text))
    if prompt.trusts_notes:
        noted = max(notes, key=lambda note: (_alike(asked, note), note["document"]), default=None)
        if noted is not None and _alike(asked, noted) >= _SIMILAR_QUESTION:
            return str(noted["document"])
        if found.learned:
            return found.learned[0]
    hints = [str(note["document"]) for note in notes if _alike(asked, note) >= _SAME_QUESTION]
    candidates = list(dict.fromkeys([*found.documents[: prompt.documents], *found.learned, *hints]))
    last = named_document(next((text for role, text in reversed(spoken) if role == "assistant"), ""))
    topic = last.partition(".")[0]
    best, best_score = "", -1.0
    for candidate in candidates[: 2 * prompt.documents]:
        score = covered(asked, traced.document(DOCUMENTS, candidate))
        score += _SAME_TOPIC_BONUS * (topic != "" and candidate.partition(".")[0] == topic)
        if score > best_score:
            best, best_score = candidate, score
    return best


def learn(traced: TracedTurn, task: Task, given: Answer, embedders: Embedders) -> None:
    """Librarian: store the answer as a fact, embed the question, close the ticket."""
    fact = {"question": task.text, "document": given.document, "asked_in": task.session}
    traced.share(fact_key(task), fact)
    embedder = embedders.pinned(traced.artifact(EMBEDDER_KEY))
    payload = {"day": task.day, "topic": task.topic, "document": given.document, "question": task.text}
    traced.embed(LEARNED, [task.session], embedder.embed_all([task.text]), [payload])
    traced.withdraw(f"tickets/{task.name}")


def review(traced: TracedTurn, task: Task) -> str:
    """Reviewer: read the conversation, the stored fact and its document; store a verdict."""
    least = float(traced.artifact("reviewer/configuration")["covers_at_least"])
    spoken = traced.history(task.number)
    fact = traced.fact(fact_key(task)) or {"document": ""}
    text = traced.document(DOCUMENTS, fact["document"]) if fact["document"] else ""
    verdict = "supported" if covered(set(stems(task.text)), text) >= least else "doubtful"
    traced.share(f"reviews/{task.name}", {"document": fact["document"], "verdict": verdict, "messages": len(spoken)})
    return verdict


def retire(traced: TracedTurn, task: Task) -> None:
    """Librarian: remove a doubtful answer from search; its fact stays, for people to read."""
    traced.unembed(LEARNED, task.session)


def digest_topic(traced: TracedTurn, day: int, topic: str) -> None:
    """Librarian, at the end of the day: summarize the questions about a topic, for reception on the next day."""
    facts = traced.facts(facts_prefix(day, topic))
    named = Counter(str(fact["document"]) for fact in facts.values() if fact["document"])
    often = min(named, key=lambda document: (-named[document], document), default=None)
    traced.share(topic_key(day, topic), {"questions": len(facts), "often": often}, compare=True)


def covered(asked: set[str], text: str) -> float:
    """Return the share of these words that a text holds."""
    return len(asked & set(stems(text))) / len(asked) if asked else 0.0


def _alike(asked: set[str], note: Mapping[str, Any]) -> float:
    """Return the Jaccard similarity of a question and a noted one."""
    noted = set(stems(str(note["question"])))
    return len(asked & noted) / len(asked | noted) if asked | noted else 0.0


def cache_key(config: EmbedderConfig, text: str) -> str:
    """Return the key under which a question's vector is cached."""
    return f"embed/{config.name}/{fingerprint(text)}"


def fact_key(task: Task) -> str:
    """Return the key of the fact that the librarian notes for a question."""
    return facts_prefix(task.day, task.topic) + task.name


def facts_prefix(day: int, topic: str) -> str:
    """Return what the keys of a day's facts on a topic begin with."""
    return f"facts/{day}/{topic}/"


def topic_key(day: int, topic: str) -> str:
    """Return the key of the librarian's summary of a topic at the end of a day."""
    return f"topics/{day}/{topic}"


__all__ = [
    "ATTACHMENTS", "COLLECTIONS", "DOCUMENTS", "LEARNED", "Answer", "Found", "Task", "answer", "cache_key", "covered",
    "digest_topic", "embed_attachment", "fact_key", "facts_prefix", "learn", "named_document", "receive", "retire",
    "retrieve", "review", "store_input", "topic_key",
]  # fmt: skip
