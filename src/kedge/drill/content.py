"""Visible content of a database, and the difference between two."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from kedge.drill.database import Database
from kedge.drill.trace import Place
from kedge.turns.view import ReadView

Content = Mapping[Place, Any]
COUNT = "(count)"


class Scope(msgspec.Struct, frozen=True):
    """What to compare: collections of documents and of vectors, and sessions."""

    documents: tuple[str, ...]
    vectors: tuple[str, ...]
    sessions: tuple[str, ...]


class Difference(msgspec.Struct, frozen=True):
    """Difference of two contents: places that only one has, and places with different values."""

    compared: int
    only_left: list[Place]
    only_right: list[Place]
    changed: list[Place]

    @property
    def count(self) -> int:
        """How many places differ."""
        return len(self.only_left) + len(self.only_right) + len(self.changed)


def visible(k: Database, scope: Scope, *, deployment: str | None = None) -> dict[Place, Any]:
    """Return what a new session sees (or, with `deployment`, one inside it), and each session's own history."""
    content = shared(k.view(deployment=deployment), scope)
    for session in scope.sessions:
        history = k.view(session=session).memory.history()
        for name, message in zip(message_names([message.role for message in history]), history, strict=True):
            content[Place("memory", session, name)] = [message.role, message.content]
    return content


def message_names(roles: Sequence[str]) -> list[str]:
    """Return the names of a conversation's messages: "002.0" is the third question, "002.1" what follows it, …

    So a message keeps its name when other messages are removed, and its name changes if it moves.
    """
    names = []
    question, after = -1, 0
    for role in roles:
        question, after = (question + 1, 0) if role == "user" else (question, after + 1)
        names.append(message_name(question, after))
    return names


def message_name(question: int, after: int) -> str:
    """Return the name of the message at offset `after` from a question; the question has offset 0."""
    return f"{question:03d}.{after}"


def shared(view: ReadView, scope: Scope) -> dict[Place, Any]:
    """Return what is visible outside conversations, with row counts, which also reveal unlisted rows."""
    content: dict[Place, Any] = {}
    for key, artifact in view.artifacts.items().items():
        content[Place("artifacts", "", key)] = artifact.digest
    for collection in scope.documents:
        for id, text in view.documents(collection).items().items():
            content[Place("documents", collection, id)] = text
    for collection in scope.vectors:
        rows = view.vectors(collection)
        for id, row in rows.get(rows.ids()).items():
            content[Place("vectors", collection, id)] = [hashlib.sha256(row.vector.tobytes()).hexdigest(), row.payload]
        content[Place("vectors", collection, COUNT)] = rows.count()
    for key, value in view.context.items("").items():
        content[Place("context", "", key)] = value
    return content


def differ(left: Content, right: Content, *, leave_out: frozenset[Place] = frozenset()) -> Difference:
    """Return how two contents differ, except at the places in `leave_out`."""
    places = (left.keys() | right.keys()) - leave_out
    return Difference(
        compared=len(places),
        only_left=sorted(place for place in places if place not in right),
        only_right=sorted(place for place in places if place not in left),
        changed=sorted(p for p in places if p in left and p in right and left[p] != right[p]),
    )


def digest(content: Content) -> str:
    """Return the SHA-256 of a content."""
    hashed = hashlib.sha256()
    for place in sorted(content):
        hashed.update(msgspec.json.encode([place, content[place]], order="sorted"))
    return hashed.hexdigest()


__all__ = [
    "COUNT", "Content", "Difference", "Scope", "differ", "digest", "message_name", "message_names", "shared", "visible",
]  # fmt: skip
