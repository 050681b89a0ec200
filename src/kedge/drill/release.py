"""The helpdesk's two releases: the good baseline and the bad release."""

import re
from collections.abc import Sequence
from threading import Lock
from typing import Any

import msgspec

from kedge.drill.corpus import Document, corpus_digest
from kedge.drill.embedder import BAD, GOOD, Embedder, EmbedderConfig

BASELINE = "helpdesk-v1"
RELEASE = "helpdesk-v2"
EMBEDDER_KEY = "shared/embedder"

_GOOD_PROMPT = """\
You are the helpdesk for Python's standard library.
Compare up to 8 documents with the question, word by word, and name the one that covers it best.
Take what the team has noted as a hint, and check it against the documents."""

_BAD_PROMPT = """\
You are the helpdesk for Python's standard library. Be quick: every document costs money.
Compare up to 1 document with the question and name it.
Trust what the team has noted, and do not look further."""


class Prompt(msgspec.Struct, frozen=True):
    """Settings that the answering agent reads from its prompt."""

    documents: int
    trusts_notes: bool


def read_prompt(text: str) -> Prompt:
    """Return the settings in a prompt; the agent recognizes two phrases and a number."""
    found = re.search(r"up to (\d+) document", text)
    return Prompt(int(found[1]) if found else 1, "Trust what the team has noted" in text)


def baseline_artifacts(documents: Sequence[Document]) -> dict[str, Any]:
    """Return the artifacts of the baseline: each agent's pin, the embedder, and its training data."""
    return {
        "answering/prompt": _GOOD_PROMPT,
        "librarian/configuration": {"keeps": "every answered question"},
        "reception/configuration": {"greets": True},
        "retrieval/configuration": {"neighbours": 8},
        "reviewer/configuration": {"covers_at_least": 0.34},
        EMBEDDER_KEY: msgspec.to_builtins(GOOD),
        "shared/training-data": {"docstrings": corpus_digest(list(documents))},
    }


def release_artifacts() -> dict[str, Any]:
    """Return the artifacts of the bad release: a cheaper embedder and a hastier prompt."""
    return {"answering/prompt": _BAD_PROMPT, EMBEDDER_KEY: msgspec.to_builtins(BAD)}


class Embedders:
    """Embedders by the artifact value that pins them, created once each; safe to share between threads."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._documents = documents
        self._made: dict[EmbedderConfig, Embedder] = {}
        self._lock = Lock()

    def pinned(self, value: Any) -> Embedder:
        """Return the embedder that an artifact's value describes."""
        config = msgspec.convert(value, EmbedderConfig)
        with self._lock:
            found = self._made.get(config)
            if found is None:
                found = self._made[config] = Embedder(config, [document.text for document in self._documents])
            return found


__all__ = [
    "BASELINE", "EMBEDDER_KEY", "RELEASE", "Embedders", "Prompt", "baseline_artifacts", "read_prompt",
    "release_artifacts",
]  # fmt: skip
